"""Fine-tune and evaluate an encoder on a tagging task: naver-ner."""

from functools import partial

from src.common.cli import run_command
from src.pipeline import run_script
from src.training.follower import OTHERS

if __name__ == "__main__":
    run_command(partial(run_script, "run_ner.py", "naver-ner"), OTHERS)
