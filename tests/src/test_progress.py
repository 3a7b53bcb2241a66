import logging
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from src.progress import Progress, format_seconds, log_to
from tests.conftest import ROOT

SHOW = """
import time
from src.progress import Progress, start_logging
import logging, src.progress
src.progress.SECONDS_BETWEEN_LINES = src.progress.SECONDS_BETWEEN_BARS = 0
start_logging()
progress = Progress("step", 3)
for step in (1, 2, 3):
    time.sleep(0.25)
    if progress.due():
        progress.show(step, "loss 0.5")
logging.info("in between")
progress.close()
"""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00"), (36_061, "10:01:01")]
)
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_logs_plain_lines_without_a_terminal():
    done = subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    lines = [line.split(" ", 1)[1] for line in done.stderr.splitlines()]
    assert lines == [
        "step 1/3, loss 0.5, 0:01 left",
        "step 2/3, loss 0.5, 0:00 left",
        "step 3/3, loss 0.5, 0:00 left",
        "in between",
    ]
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", done.stderr)


def test_shows_a_bar_on_a_terminal_and_prints_nothing():
    terminal, process_end = pty.openpty()
    done = subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, stdout=subprocess.PIPE, stderr=process_end, check=True)
    os.close(process_end)
    shown = os.read(terminal, 100_000).decode(errors="replace")
    os.close(terminal)
    assert done.stdout == b""
    assert "loss 0.5" in shown
    assert re.search(r"\r\x1b\[K\d\d:\d\d:\d\d in between", shown)


def test_is_due_only_every_few_seconds(caplog):
    progress = Progress("step", 1000)
    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            assert not progress.due()


def test_a_full_disk_is_not_reported_for_every_message(capfd):
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        log_to(Path("/dev/full"))
        root.warning("something")
    finally:
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
            with suppress(OSError):
                handler.close()
    assert "Logging error" not in capfd.readouterr().err
