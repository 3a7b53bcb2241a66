"""What the commands share: an argument parser, the set-up of streams and logging, and the exit with one message."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from src.common import launcher, start
from src.common.errors import MACHINE_ERRORS, BenchmarkError, ConfigError, Interrupted
from src.common.isolation import describe_hidden, isolated
from src.common.launcher import OtherRanks
from src.common.log import abandon, logging_to_screen, usable_streams
from src.common.signals import SIGNALS, handling
from src.common.version import VERSION

logger = logging.getLogger(__name__)

# How often a thread of GNU OpenMP looks for work before it sleeps. By default it looks so long that, beside another busy process,
# it keeps the core that the thread it waits for needs: small products then take up to 100 times as long.
SPINS = "1000"
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # variables with which a user chooses how threads wait


def prepare_torch() -> None:
    """Set what torch reads from the environment when it is imported, unless the user has set it.

    OpenMP's threads sleep soon when they wait, and operators that Apple's GPUs lack run on the CPU.
    """
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


class Parser(argparse.ArgumentParser):
    """An argument parser that knows --version and raises ConfigError instead of exiting."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.add_argument("--version", action="version", version=f"%(prog)s {VERSION}", help="show the version and exit")

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See --help.")


def run_command(main: Callable[[], None], other_ranks: OtherRanks | None = None, timestamps: bool = True) -> None:
    """Run `main`; on a BenchmarkError or an error of the machine, log one message and exit with its exit code.

    Any other exception is a bug and keeps its traceback. The process, which may be a notebook's, is left as it was: streams,
    loggers and signal handlers. timestamps: whether lines on standard error begin with the time.
    If a launcher has started several processes, rank 0 runs `main`, and the others what `other_ranks` says; without it, several
    processes are an error.
    """
    try:
        _run_isolated(main, other_ranks, timestamps)
    finally:
        start.end()


def _run_isolated(main: Callable[[], None], other_ranks: OtherRanks | None, timestamps: bool) -> None:
    prepare_torch()
    with isolated() as hidden:
        try:
            launcher.require_sense()
        except ConfigError as error:
            _run_alone(partial(_raise, error), timestamps)
        if launcher.rank() > 0:
            if other_ranks:
                other_ranks.follow()
            return
        try:
            _run_alone(partial(_log_hidden, hidden, main if other_ranks else partial(_refuse_ranks, main)), timestamps)
        finally:
            if other_ranks:
                with handling(SIGNALS, signal.SIG_DFL):
                    other_ranks.dismiss()


def _raise(error: BenchmarkError) -> NoReturn:
    raise error


def _log_hidden(hidden: list[str], main: Callable[[], None]) -> None:
    if hidden:
        logger.info("%s", describe_hidden(hidden))
    main()


def _refuse_ranks(main: Callable[[], None]) -> None:
    if launcher.count() > 1:
        raise ConfigError("this command is one process. Start run_seq_cls.py, run_ner.py or run_squad.py with torchrun.")
    main()


def _run_alone(main: Callable[[], None], timestamps: bool) -> None:
    """Run `main` in this process; see run_command."""
    with usable_streams(), logging_to_screen(timestamps), handling(SIGNALS, _raise_interrupted):
        try:
            main()
            sys.stdout.flush()
        except Interrupted as error:
            _exit(str(error), error.exit_code)
        except BenchmarkError as error:
            _exit(f"error: {error}", error.exit_code)
        except BrokenPipeError:  # whatever reads the output has exited, as `| head` does: no message
            abandon(sys.stdout)
            sys.exit(1)
        except OSError as error:
            if (advice := MACHINE_ERRORS.get(error.errno or 0)) is None:
                raise
            abandon(sys.stdout)
            path = error.filename or "standard output"
            _exit(f"error: {error.strerror}: {path}. {advice}", 1)
        except MemoryError:
            _exit("error: memory is full. Close other programs, or use a smaller model or file.", 1)


def _raise_interrupted(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _exit(message: str, exit_code: int) -> NoReturn:
    logger.error(message)
    sys.exit(exit_code)
