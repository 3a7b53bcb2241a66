"""What the commands share: an argument parser, and the exit with one message and an exit code."""

import argparse
import errno
import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from src.errors import BenchmarkError, ConfigError, Interrupted
from src.signals import SIGNALS, handling

logger = logging.getLogger(__name__)

# errno values caused by the machine rather than by a bug.
MACHINE_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG,
    errno.EISDIR, errno.ENOTDIR,
}  # fmt: skip


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See --help.")


def run_command(main: Callable[[], None]) -> None:
    """Run `main`; on a BenchmarkError or an error of the machine, log one message and exit with its exit code.

    Any other exception is a bug and keeps its traceback.
    """
    with handling(SIGNALS, _raise_interrupted):
        try:
            main()
        except Interrupted as error:
            _exit(str(error), error.exit_code)
        except BenchmarkError as error:
            _exit(f"error: {error}", error.exit_code)
        except BrokenPipeError:
            sys.stderr.close()  # whatever reads the output has exited, as `| head` does: no message
            sys.exit(1)
        except OSError as error:
            if error.errno not in MACHINE_ERRORS:
                raise
            path = error.filename or "unknown file"
            _exit(f"error: {error.strerror}: {path}. Free some disk space or choose another folder.", 1)


def _raise_interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _exit(message: str, exit_code: int) -> NoReturn:
    logger.error(message)
    sys.exit(exit_code)
