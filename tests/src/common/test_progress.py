import logging
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from src.common.log import LOGGERS, logging_to, logging_to_screen, seconds_since_start
from src.common.progress import Progress, format_seconds
from tests.conftest import ROOT

SHOW = """
import time
from src.common.log import logging_to_screen
from src.common.progress import Progress
import logging, src.common.progress
src.common.progress.SECONDS_BETWEEN_LINES = src.common.progress.SECONDS_BETWEEN_BARS = 0
with logging_to_screen():
    progress = Progress("step", 3)
    for step in (1, 2, 3):
        time.sleep(0.25)
        if progress.due():
            progress.show(step, "loss 0.5")
    logging.getLogger("processor").info("in between")
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
    with logging_to_screen(), logging_to(Path("/dev/full")):
        logging.getLogger("src").warning("something")
    assert "Logging error" not in capfd.readouterr().err


def test_a_closed_terminal_does_not_end_a_training(monkeypatch):
    terminal, process_end = pty.openpty()
    monkeypatch.setattr(sys, "stderr", open(process_end, "w", buffering=1))  # noqa: SIM115
    progress = Progress("step", 3)
    os.close(terminal)
    progress.show(1, "line\n")
    progress.close()
    with suppress(OSError):
        sys.stderr.close()


def messages(path):
    """The messages in a log file, without the time."""
    return [line.split(" ", 2)[2] for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_command_has_a_log_of_its_own(tmp_path, capsys):
    """Two commands in one process, as in a notebook whose root logger has a handler."""
    root, seen = logging.getLogger(), []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    root.addHandler(handler)
    try:
        for name in ("one", "two"):
            with logging_to_screen():
                logging.getLogger("processor.x").info("early %s", name)
                with logging_to(tmp_path / name):
                    logging.getLogger("src.x").info("late %s", name)
                logging.getLogger("src.x").info("after %s", name)
                assert seconds_since_start() < 1
    finally:
        root.removeHandler(handler)
    assert [messages(tmp_path / name) for name in ("one", "two")] == [["early one", "late one"], ["early two", "late two"]]
    assert [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()] == [
        "early one", "late one", "after one", "early two", "late two", "after two",
    ]  # fmt: skip
    assert seen == []
    assert [logging.getLogger(name).handlers for name in LOGGERS] == [[], []]


def test_a_log_says_what_ended_the_command(tmp_path):
    with pytest.raises(ZeroDivisionError), logging_to_screen(), logging_to(tmp_path / "log"):
        raise ZeroDivisionError("by 영")
    assert messages(tmp_path / "log") == ["ZeroDivisionError: by 영"]
