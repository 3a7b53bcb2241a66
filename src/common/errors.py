"""The errors that end a command with one message and an exit code, and helpers to phrase messages."""

import difflib
import errno
import json
import signal
from collections.abc import Iterable, Mapping, Sequence

MAX_PROBLEMS_SHOWN = 10
# Limits of messages, which may contain parts of any file. A name of every config file in a line is about 600 characters.
MAX_LINES = 100
MAX_LINE = 800  # characters
MAX_QUOTED = 80  # characters of a value from data
MAX_REASON = 300  # characters of another library's error message

# errno values that are caused by the machine rather than by a bug -> what to do.
_SPACE, _RIGHTS = "Free some disk space or choose another folder.", "Ask its owner for the right to use it, or choose another."
_PATH, _DISK = "Check the path.", "Check the disk or the network drive."
MACHINE_ERRORS: Mapping[int, str] = {
    errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE, errno.EFBIG: _SPACE, errno.EACCES: _RIGHTS, errno.EPERM: _RIGHTS,
    errno.EROFS: "Choose a folder that can be written.", errno.EIO: _DISK, errno.ESTALE: _DISK,
    errno.ENAMETOOLONG: "Choose a shorter name.", errno.EISDIR: _PATH, errno.ENOTDIR: _PATH,
}  # fmt: skip


class BenchmarkError(Exception):
    """Base of all errors that end a command with one clear message.

    `exit_code` is 2 if the user can correct the cause, 1 if it is the environment. A long message loses its middle.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(_shorten_lines(message))


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


class ScoringError(BenchmarkError):
    """Trained weights could not be scored. They are kept."""

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
    lower = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.6)
    return f" Did you mean {lower[matches[0]]!r}?" if matches else ""


def list_problems(title: str, problems: Sequence[str]) -> str:
    """Return one message: the title, then one line per problem, at most MAX_PROBLEMS_SHOWN of them."""
    lines = [f"  - {problem}" for problem in problems[:MAX_PROBLEMS_SHOWN]]
    if len(problems) > MAX_PROBLEMS_SHOWN:
        lines.append(f"  ... and {len(problems) - MAX_PROBLEMS_SHOWN} more")
    return _shorten_lines("\n".join([title, *lines]))


def quote(value: object) -> str:
    """Return repr(value) for a message, without its middle if it is long. For every value that comes from data or a user."""
    return shorten(repr(value), MAX_QUOTED)


def quote_json(value: object) -> str:
    """Return a value as JSON for a message, without its middle if it is long."""
    return shorten(json.dumps(value, ensure_ascii=False, default=str), MAX_QUOTED)


def shorten(text: str, limit: int) -> str:
    """Return `text` with at most `limit` characters: two thirds from its start and, after " ... ", the rest from its end."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - len(' ... ')]} ... {text[-tail:]}"


def brief(error: BaseException) -> str:
    """Return an error's message on one line of at most MAX_REASON characters, or the name of its type if it has none.

    Of an error of the operating system it is the reason alone, without its number and the path.
    """
    message = (isinstance(error, OSError) and error.strerror) or str(error)
    return shorten(" ".join(message.split()) or type(error).__name__, MAX_REASON)


def _shorten_lines(message: str) -> str:
    """Limit the number of lines and the length of each. The last lines stay: they say what to do."""
    lines = message.split("\n")
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 10], "...", *lines[-9:]]
    return "\n".join(shorten(line, MAX_LINE) for line in lines)
