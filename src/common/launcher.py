"""What torchrun and accelerate launch tell a process: how many there are, and which one it is."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from src.common.errors import ConfigError

LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what a launcher sets
LOCAL = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")  # what it also sets, about this machine


def count() -> int:
    """Return the number of processes of this run: 1 unless a launcher has set all of LAUNCHER."""
    return int(os.environ["WORLD_SIZE"]) if all(os.environ.get(name) for name in LAUNCHER) else 1


def rank() -> int:
    """Return the number of this process: 0 is the leader."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def require_sense() -> None:
    """Raise ConfigError if the variables of a launcher are no numbers, or the process is none of those that it counts."""
    given = {name: os.environ.get(name, "") for name in LAUNCHER}
    if all(given.values()):
        numbers = [int(given[name]) if given[name].isdecimal() else -1 for name in ("RANK", "WORLD_SIZE")]
        if not 0 <= numbers[0] < numbers[1]:
            found = " ".join(f"{name}={value}" for name, value in given.items())
            raise ConfigError(f"{found}: these are not the variables of a launcher such as torchrun. Unset them, or use one.")


@contextmanager
def hidden() -> Iterator[None]:
    """Inside the block, libraries that look for a launcher find none, and set up a single process."""
    names = [name for name in (*LAUNCHER, *LOCAL) if name in os.environ]
    before = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(before)


class OtherRanks(NamedTuple):
    """What run_command does with the other processes of a run."""

    follow: Callable[[], None]  # what they run
    dismiss: Callable[[], None]  # what rank 0 runs in the end, to let them exit
