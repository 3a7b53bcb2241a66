"""Errors a user meets, each with the exit code of the command it ends, and hints towards the right name."""

import difflib
import signal
from collections.abc import Iterable, Sequence

MAX_PROBLEMS_SHOWN = 10


class BenchmarkError(Exception):
    """Base of every error that ends a command with one clear message. `exit_code`: 2 the user's mistake, 1 the environment."""

    exit_code = 2


class ConfigError(BenchmarkError):
    """A setting, a config file or a command line is wrong."""


class DataError(BenchmarkError):
    """A data file is missing or malformed."""


class ModelError(BenchmarkError):
    """A model or tokenizer cannot be loaded, or does not fit the settings."""


class CheckpointError(BenchmarkError):
    """A run's folder does not hold what was asked of it."""


class EnvironmentFailure(BenchmarkError):
    """The machine failed: disk, network, device."""

    exit_code = 1


class NumbersError(BenchmarkError):
    """A loss, a gradient or a prediction is not a finite number."""

    exit_code = 1


class Interrupted(BenchmarkError):
    """A signal asked the command to end. `exit_code`: 130 for Ctrl-C, 143 for SIGTERM."""

    def __init__(self, number: int, kept: str = "") -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}{kept and f'; {kept}'}")
        self.number, self.exit_code = number, 128 + number


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the choice nearest to `name`, or an empty string where none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def list_problems(title: str, problems: Sequence[str]) -> str:
    """One message of many problems: the title, then a line each, at most MAX_PROBLEMS_SHOWN of them."""
    shown = [f"  - {problem}" for problem in problems[:MAX_PROBLEMS_SHOWN]]
    if len(problems) > MAX_PROBLEMS_SHOWN:
        shown.append(f"  ... and {len(problems) - MAX_PROBLEMS_SHOWN} more")
    return "\n".join([title, *shown])
