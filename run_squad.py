"""Fine-tune and evaluate an encoder on a reading task: korquad."""

import sys

from processor import TASKS, tasks_of
from processor.download import find_files
from processor.kinds import load_split
from src.cli import run_command
from src.config import load_settings
from src.pipeline import run_task

SCRIPT = "run_squad.py"


def main() -> None:
    settings = load_settings(sys.argv[1:], script=SCRIPT, tasks=tasks_of(SCRIPT), default_task="korquad")
    run_task(settings, TASKS[settings.task], find_files(settings), load_split)


if __name__ == "__main__":
    run_command(main)
