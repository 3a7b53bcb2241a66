import errno
import os
import signal
from pathlib import Path

import pytest

from src.common.cli import SPINS, WAITING, Parser, run_command
from src.common.errors import ConfigError, EnvironmentFailure, Interrupted


def test_a_wrong_command_line_is_a_config_error():
    with pytest.raises(ConfigError, match=r"--nonsense.*See --help"):
        Parser().parse_args(["--nonsense"])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("wrong"), 2, "error: wrong"),
        (EnvironmentFailure("no network"), 1, "error: no network"),
        (Interrupted(signal.SIGINT), 130, "interrupted by SIGINT"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "ckpt/xxx"), 1, "error: File name too long: ckpt/xxx."),
        (OSError(errno.ENOSPC, "No space left on device", "ckpt/x"), 1, "error: No space left on device: ckpt/x."),
        (OSError(errno.EACCES, "Permission denied", "ckpt/x"), 1, "error: Permission denied: ckpt/x. Ask its owner"),
        (MemoryError(), 1, "error: memory is full."),
    ],
)
def test_errors_end_the_command_with_one_message(error, code, message, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        run_command(main)
    assert caught.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("given", "expected"), [({}, {"GOMP_SPINCOUNT": SPINS}), ({"OMP_WAIT_POLICY": "ACTIVE"}, {}), ({"GOMP_SPINCOUNT": "7"}, {})]
)
def test_threads_of_openmp_spin_briefly_unless_the_user_has_chosen(monkeypatch, given, expected):
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen = {}
    run_command(lambda: seen.update({name: os.environ[name] for name in WAITING if name in os.environ}))
    assert seen == given | expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_one_message(number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        run_command(lambda: os.kill(os.getpid(), number))
    assert caught.value.code == 128 + number
    assert capsys.readouterr().err == f"interrupted by {number.name}\n"
    assert signal.getsignal(number) is before


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)
    with pytest.raises(FileNotFoundError):
        run_command(lambda: Path("no/such/file").read_text())
