"""Fine-tune and evaluate an encoder on a sequence task: nsmc, paws, kornli, korsts, question-pair, hate-speech."""

import sys

from processor.download import find_files
from processor.kinds import load_split
from processor.labels import complete_task
from processor.own_task import FLAGS, read_command
from src.cli import run_command
from src.config import load_settings
from src.pipeline import run_task

SCRIPT = "run_seq_cls.py"


def main() -> None:
    command = read_command(sys.argv[1:], SCRIPT)
    settings = load_settings(command.argv, script=SCRIPT, tasks=command.tasks, other_flags=FLAGS)
    if command.print_task:
        print(command.task_file(settings))
        return
    task = command.tasks[settings.task]
    files = find_files(settings, task)
    run_task(settings, complete_task(task, files, settings.run_folder), files, load_split)


if __name__ == "__main__":
    run_command(main)
