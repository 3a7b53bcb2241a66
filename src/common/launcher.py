"""What torchrun and accelerate launch tell a process: how many there are, and which one it is."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what a launcher sets, beside LOCAL_RANK and LOCAL_WORLD_SIZE


def count() -> int:
    """Return the number of processes of this run."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in LAUNCHER) else 1


def rank() -> int:
    """Return the number of this process: 0 is the leader."""
    return int(os.environ["RANK"]) if count() > 1 else 0


@contextmanager
def hidden() -> Iterator[None]:
    """Inside the block, libraries that look for a launcher find none, and set up a single process."""
    names = [name for name in (*LAUNCHER, "LOCAL_RANK", "LOCAL_WORLD_SIZE") if name in os.environ]
    before = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(before)


class OtherRanks(NamedTuple):
    """What run_command does with the other processes of a run."""

    follow: Callable[[], None]  # what they run
    dismiss: Callable[[], None]  # what rank 0 runs in the end, to let them exit
