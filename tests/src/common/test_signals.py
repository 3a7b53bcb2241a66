import os
import signal
import subprocess
import sys
import threading

import pytest

from src.common import signals
from src.common.errors import Interrupted
from tests.conftest import ROOT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_next_check(number):
    before = signal.getsignal(number)
    with signals.ending_at_check():
        signals.check()
        os.kill(os.getpid(), number)  # no effect yet
        with pytest.raises(Interrupted) as caught:
            signals.check()
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_new_block_forgets_earlier_signals():
    with signals.ending_at_check():
        os.kill(os.getpid(), signal.SIGTERM)
    with signals.ending_at_check():
        signals.check()


def test_a_second_signal_ends_the_process_immediately():
    code = (
        "import os, signal; from src.common import signals\n"
        "with signals.ending_at_check():\n"
        "    os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT); print('still running')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


def test_another_thread_changes_no_handlers():
    """It cannot: signal.signal raises ValueError there."""
    before, during = signal.getsignal(signal.SIGINT), []

    def work():
        with signals.ending_at_check():
            during.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [before]
