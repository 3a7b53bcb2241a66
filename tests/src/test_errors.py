import errno
from pathlib import Path

import pytest

from src.errors import MAX_PROBLEMS_SHOWN, ConfigError, EnvironmentFailure, did_you_mean, list_problems, run_command


def test_the_nearest_name():
    assert did_you_mean("nsmcc", ["paws", "nsmc"]) == " Did you mean 'nsmc'?"
    assert did_you_mean("xyz", ["paws", "nsmc"]) == ""


def test_a_long_list_is_cut_and_counted():
    lines = list_problems("title:", [str(number) for number in range(MAX_PROBLEMS_SHOWN + 5)]).splitlines()
    assert (len(lines), lines[0], lines[-1]) == (MAX_PROBLEMS_SHOWN + 2, "title:", "  ... and 5 more")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("wrong"), 2, "error: wrong\n"),
        (EnvironmentFailure("no network"), 1, "error: no network\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(errno.ENOSPC, "No space left on device", "ckpt/x"), 1, "error: No space left on device: ckpt/x."),
    ],
)
def test_errors_end_the_command_with_one_message(error, code, message, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        run_command(main)
    assert caught.value.code == code
    shown = capsys.readouterr().err
    assert shown.startswith(message)
    assert "Traceback" not in shown


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)
    with pytest.raises(FileNotFoundError):
        run_command(lambda: Path("no/such/file").read_text())
