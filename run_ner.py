"""Fine-tune and score an encoder on a tagging task: naver-ner."""

import sys

from processor import TASKS, tasks_of
from processor.download import find_files
from processor.ner import load_split
from src.config import load_settings
from src.errors import run_command
from src.progress import start_logging
from src.run import run_task

SCRIPT = "run_ner.py"


def main() -> None:
    start_logging()
    settings = load_settings(sys.argv[1:], script=SCRIPT, tasks=tasks_of(SCRIPT), default_task="naver-ner")
    run_task(settings, TASKS[settings.task], find_files, load_split)


if __name__ == "__main__":
    run_command(main)
