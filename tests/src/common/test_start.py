"""The first half second of a command: its imports."""

import os
import signal
import subprocess
import sys

import pytest

from src.common import start
from tests.commands import ROOT, run_command

COMMANDS = ["run_seq_cls.py", "run_ner.py", "run_squad.py", "run_benchmark.py", "predict.py", "share.py"]
MODULES = ["processor.check", "processor.download"]

# Stands in for a package that the imports need: a signal arrives while it is imported.
SLOW = "import os, signal, sys\nif sys.argv[0].endswith('{name}.py'):\n    os.kill(os.getpid(), signal.{number})\n"


@pytest.mark.parametrize(
    ("command", "number"),
    [*((command, "SIGINT") for command in [*COMMANDS, *MODULES]), ("run_ner.py", "SIGTERM"), ("processor.check", "SIGTERM")],
)
def test_a_signal_during_the_imports_ends_a_command_with_one_line(tmp_path, command, number):
    name = command.removesuffix(".py").rpartition(".")[2]
    (tmp_path / "numpy.py").write_text(SLOW.format(name=name, number=number))
    words = [command] if command.endswith(".py") else ["-m", command]
    done = run_command(*words, "--help", env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (
        128 + signal.Signals[number],
        "",
        f"interrupted by {number}\n",
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_find_their_modules_with_safe_paths(tmp_path, command):
    """As Python is told by PYTHONSAFEPATH; the command is run in another folder."""
    done = subprocess.run(
        [sys.executable, ROOT / command, "--version"], cwd=tmp_path, env=os.environ | {"PYTHONSAFEPATH": "1"}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_missing_package_is_one_line(tmp_path):
    (tmp_path / "pydantic.py").write_text("import no_such_package")
    done = run_command("run_ner.py", "--help", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: No module named 'no_such_package'. ") and ".venv/bin/activate" in line


def test_nothing_is_left_behind():
    before = [signal.getsignal(number) for number in start.NUMBERS], sys.excepthook
    start.begin()
    start.end()
    assert ([signal.getsignal(number) for number in start.NUMBERS], sys.excepthook) == before


def test_an_ignored_signal_stays_ignored():
    """As nohup and the shell's & ask for it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        start.begin()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        start.end()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
