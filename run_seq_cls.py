"""Fine-tune and score an encoder on a sequence task: nsmc, paws, kornli, korsts, question-pair, hate-speech."""

import sys

from processor import TASKS, tasks_of
from processor.download import find_files
from processor.seq_cls import load_split
from src.config import load_settings
from src.errors import run_command
from src.progress import start_logging
from src.run import run_task

SCRIPT = "run_seq_cls.py"


def main() -> None:
    start_logging()
    settings = load_settings(sys.argv[1:], script=SCRIPT, tasks=tasks_of(SCRIPT))
    run_task(settings, TASKS[settings.task], find_files, load_split)


if __name__ == "__main__":
    run_command(main)
