"""A follower: a process of a run that does what the leader tells it (src.training.ranks). It reads and writes no file."""

import logging
import os
import signal
from traceback import extract_tb

from src.common.errors import BenchmarkError, brief
from src.common.launcher import OtherRanks
from src.common.signals import SIGNALS
from src.training import ranks


def follow() -> None:
    """Run what rank 0 sends until it exits, then exit silently. Failures are reported to rank 0.

    Until the leader joins, signals end this process. Then they are ignored: the leader gets them, too, and saves the state.
    """
    logging.disable()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # torch would warn when the leader ends
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # Imported here, as torch takes seconds: while the leader reads its data.
    from src.training.finetune import Follower, device_errors

    if ranks.await_leader():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        try:
            follower = Follower()
            with device_errors():
                while True:
                    operation, arguments = ranks.listen()
                    operation(follower, *arguments)
        except ranks.RankFailed:
            pass  # the leader or another follower has ended
        except BenchmarkError as error:
            ranks.report_failure(str(error), error.exit_code)
        except BaseException as error:  # a bug: where it was raised
            *_, place = extract_tb(error.__traceback__)
            ranks.report_failure(f"{type(error).__name__}: {brief(error)} ({place.filename}, line {place.lineno})", 1)
    os._exit(0)  # the leader's exit code is that of the run; a thread still waits for it


OTHERS = OtherRanks(follow, ranks.end)
