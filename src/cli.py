"""The command line of every command: argument parsing errors, error messages and exit codes."""

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
    """An argparse parser that raises ConfigError for a wrong command line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See --help.")


def run_command(main: Callable[[], None]) -> None:
    """Call `main` and end the process as the README promises: one message and an exit code instead of a traceback.

    Errors nobody foresaw keep their traceback: they are bugs and should be reported as such.
    """
    with handling(SIGNALS, _interrupt):
        try:
            main()
        except Interrupted as error:
            sys.exit(_say(str(error), error.exit_code))
        except BenchmarkError as error:
            sys.exit(_say(f"error: {error}", error.exit_code))
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output went away (`| head`): nobody is left to tell
            sys.exit(1)
        except OSError as error:
            if error.errno not in MACHINE_ERRORS:
                raise
            where = error.filename or "unknown file"
            sys.exit(_say(f"error: {error.strerror}: {where}. Free the disk or choose another folder.", 1))


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _say(message: str, exit_code: int) -> int:
    logger.error(message)
    return exit_code
