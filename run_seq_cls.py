"""Fine-tune and evaluate an encoder on a sequence task: nsmc, paws, kornli, korsts, question-pair, hate-speech."""

import sys

from processor import TASKS, tasks_of
from processor.download import find_files
from processor.kinds import load_split
from src.cli import run_command
from src.config import load_settings
from src.pipeline import run_task

SCRIPT = "run_seq_cls.py"


def main() -> None:
    settings = load_settings(sys.argv[1:], script=SCRIPT, tasks=tasks_of(SCRIPT))
    run_task(settings, TASKS[settings.task], find_files(settings), load_split)


if __name__ == "__main__":
    run_command(main)
