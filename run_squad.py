"""Fine-tune and evaluate an encoder on a reading task: korquad."""

import sys

if __name__ == "__main__":
    if sys.flags.safe_path:  # with PYTHONSAFEPATH, the folder of this file is not searched
        sys.path.insert(0, __file__.rpartition("/")[0] or ".")
    from src.common import start

    start.begin()

from functools import partial

from src.common.cli import run_command
from src.pipeline import run_script
from src.training.follower import OTHERS

if __name__ == "__main__":
    run_command(partial(run_script, "run_squad.py", "korquad"), OTHERS)
