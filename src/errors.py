"""The errors that end a command with one message and an exit code, and helpers to phrase messages."""

import difflib
import signal
from collections.abc import Iterable, Sequence

MAX_PROBLEMS_SHOWN = 10
MAX_REASON = 300  # characters; messages of libraries can be pages long


class BenchmarkError(Exception):
    """Base of all errors that end a command with one clear message.

    `exit_code` is 2 if the user can correct the cause, 1 if it is the environment.
    """

    exit_code = 2


class ConfigError(BenchmarkError):
    """A setting, a config file or a command line is invalid."""


class DataError(BenchmarkError):
    """A data file is missing or malformed."""


class ModelError(BenchmarkError):
    """A model or tokenizer cannot be loaded or does not fit the settings."""


class CheckpointError(BenchmarkError):
    """A run's folder or a checkpoint lacks what the command needs, or is damaged."""


class EnvironmentFailure(BenchmarkError):
    """The disk, the network or the device failed."""

    exit_code = 1


class NumbersError(BenchmarkError):
    """A loss, a gradient or a prediction is not finite."""

    exit_code = 1


class Interrupted(BenchmarkError):
    """A signal asked the command to stop. `exit_code` is 130 for Ctrl-C and 143 for SIGTERM; `kept`: what has been saved."""

    def __init__(self, number: int, kept: str = "") -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}{kept and f'; {kept}'}")
        self.number, self.exit_code = number, 128 + number


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the choice most similar to `name`, or "" if none is similar."""
    matches = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def list_problems(title: str, problems: Sequence[str]) -> str:
    """Return one message: the title, then one line per problem, at most MAX_PROBLEMS_SHOWN of them."""
    lines = [f"  - {problem}" for problem in problems[:MAX_PROBLEMS_SHOWN]]
    if len(problems) > MAX_PROBLEMS_SHOWN:
        lines.append(f"  ... and {len(problems) - MAX_PROBLEMS_SHOWN} more")
    return "\n".join([title, *lines])


def brief(error: BaseException) -> str:
    """Return an error's message on one line of at most MAX_REASON characters, or the name of its type if it has none."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + " ..."
