"""Fine-tune and evaluate an encoder on a sequence task: nsmc, paws, kornli, korsts, question-pair, hate-speech."""

import sys

from processor.download import find_files
from processor.kinds import load_split
from processor.labels import complete_task
from processor.own_task import read_run
from src.common.cli import run_command
from src.pipeline import run_task
from src.training.follower import OTHERS


def main() -> None:
    settings, task = read_run(sys.argv[1:], "run_seq_cls.py")
    files = find_files(settings, task)
    run_task(settings, complete_task(task, files, settings.run_folder), files, load_split)


if __name__ == "__main__":
    run_command(main, OTHERS)
