"""Runs that torchrun starts, with everything imported; see tests/test_several_processes.py for what they compute."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.kills import contents_of, differences
from tests.several import SHORT, Runs, log_of, own_lines


@pytest.fixture
def run(tmp_path):
    return Runs(tmp_path)


def torchrun(processes, *command):
    """Start a command with torchrun, in a session of its own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*launcher, *command], cwd=ROOT, start_new_session=True, **pipes)


def wait_for_step(folder, step):
    for _ in range(1200):
        if (folder / "log.jsonl").exists() and len(log_of(folder)) >= step:
            return
        time.sleep(0.05)
    raise AssertionError(f"{folder}: no step {step}")


def processes_of(launcher):
    """The process ids of the ranks that torchrun has started, by rank."""
    children = subprocess.run(["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True, check=True).stdout.split()
    found = {}
    for child in children:
        entries = Path(f"/proc/{child}/environ").read_text().split("\0")
        environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)
        found[int(environment["RANK"])] = int(child)
    return [found[rank] for rank in sorted(found)]


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "kill"])
def test_an_interrupted_launcher(run, tmp_path, how):
    """The launcher gets a signal, or loses one of its processes; the same command resumes to the same bits."""
    flags = [*SHORT, "--max_steps", "150", "--save_steps", "20", "--logging_steps", "100"]
    command = ["run_seq_cls.py", *run.arguments("parts"), *flags]
    launcher = torchrun(2, *command)
    wait_for_step(tmp_path / "ckpt" / "parts", 30)
    if how == "kill":
        os.kill(processes_of(launcher)[1], signal.SIGKILL)
    else:
        launcher.send_signal(how)
    started = time.monotonic()
    _, errors = launcher.communicate(timeout=60)
    assert time.monotonic() - started < 20
    assert launcher.returncode != 0
    expected = "error: a process of this run has ended" if how == "kill" else f"interrupted by {how.name}; step"
    messages = [line for line in own_lines(errors) if line.startswith(("error", "interrupted"))]
    assert [line.startswith(expected) for line in messages] == [True], errors
    assert all(done.returncode == 0 for done in run(2, "parts", *flags))
    assert all(done.returncode == 0 for done in run(2, "whole", *flags))
    assert differences(*(contents_of(tmp_path / "ckpt" / name) for name in ("parts", "whole"))) == []


@pytest.mark.long
def test_ends_when_there_is_nothing_to_do(run):
    arguments = [*run.arguments("run"), "--max_steps", "3"]
    for expected in (0, 0):  # the second one is finished already
        launcher = torchrun(3, "run_seq_cls.py", *arguments)
        output, errors = launcher.communicate(timeout=120)
        assert launcher.returncode == expected, errors
        assert "nsmc: acc" in output


@pytest.mark.long
@pytest.mark.parametrize("script", ["predict.py", "run_benchmark.py"])
def test_commands_that_are_one_process(script):
    launcher = torchrun(2, script, "--help")
    output, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 1 and output == ""
    assert re.search(r"exitcode +: 2 ", errors)
    assert [line for line in own_lines(errors) if line.startswith("error: ") and "torchrun" in line]
