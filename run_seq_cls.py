"""Fine-tune and evaluate an encoder on a sequence task: nsmc, paws, kornli, korsts, question-pair, hate-speech."""

import sys

from processor import tasks_of
from processor.definition import read_tasks
from processor.download import find_files
from processor.kinds import load_split
from src.cli import run_command
from src.config import config_dir_of, load_settings
from src.pipeline import run_task

SCRIPT = "run_seq_cls.py"


def main() -> None:
    tasks = read_tasks(config_dir_of(sys.argv[1:]))
    settings = load_settings(sys.argv[1:], script=SCRIPT, tasks=tasks_of(SCRIPT, tasks))
    task = tasks[settings.task]
    run_task(settings, task, find_files(settings, task), load_split)


if __name__ == "__main__":
    run_command(main)
