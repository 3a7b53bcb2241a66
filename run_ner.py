"""Fine-tune and evaluate an encoder on a tagging task: naver-ner."""

import sys

from processor.download import find_files
from processor.kinds import load_split
from processor.labels import complete_task
from processor.own_task import read_run
from src.common.cli import run_command
from src.pipeline import run_task
from src.training.follower import OTHERS


def main() -> None:
    settings, task = read_run(sys.argv[1:], "run_ner.py", default_task="naver-ner")
    files = find_files(settings, task)
    run_task(settings, complete_task(task, files, settings.run_folder), files, load_split)


if __name__ == "__main__":
    run_command(main, OTHERS)
