"""What the machine does to a run: a disk that is full or read-only, a process that is asked to end."""

import json
import re
import signal
import subprocess
import time

import pytest

from tests.commands import Forked, run_command
from tests.kills import contents_of, differences

SHORT = ["--max_steps", "40", "--save_steps", "10", "--logging_steps", "15", "--log_every", "2"]


@pytest.fixture
def disk(tmp_path):
    """disk("size=3m") mounts a file system with these options and returns its folder."""
    mounted = []

    def mount(options):
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("needs the right to mount a file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_run_with_one_message_and_loses_nothing(tiny, disk):
    """Checkpoints are kept until the disk is full; with more space the same command resumes."""
    places = ["--ckpt_dir", str(disk("size=4m")), *SHORT, "--save_total_limit", "-1"]
    done = tiny(*places)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.search(rf"error: {places[1]}/.*(No space left on device|os error 28)", last), done.stderr
    assert "rerun the same command" in last
    assert "Traceback" not in done.stderr
    subprocess.run(["mount", "-o", "remount,size=100m", places[1]], check=True)
    done = tiny(*places)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stderr


def test_a_read_only_folder(tiny, disk):
    done = tiny("--ckpt_dir", str(disk("size=1m,ro")), *SHORT)
    assert done.returncode == 1
    assert re.search(r"error: .*disk/.*Read-only file system.*--ckpt_dir", done.stderr)
    assert "Traceback" not in done.stderr


def wait_for(path, lines):
    """Wait until a file has so many lines."""
    for _ in range(600):
        if path.exists() and len(path.read_text().splitlines()) >= lines:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} has fewer than {lines} lines")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_run_that_is_asked_to_end_saves_its_state_and_resumes(tiny, tmp_path, number):
    whole = tmp_path / "ckpt" / "whole"
    assert tiny("--output_dir", "whole", *SHORT).returncode == 0
    process = tiny("--output_dir", "run", *SHORT, start=Forked)
    wait_for(tmp_path / "ckpt" / "run" / "log.jsonl", 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    interruption = re.search(rf"{number.name}; step (\d+) of 40 is saved", errors.splitlines()[-1])
    assert interruption, errors
    done = tiny("--output_dir", "run", *SHORT)
    assert done.returncode == 0, done.stderr
    assert f"resuming from step {interruption[1]}" in done.stderr
    assert differences(contents_of(whole), contents_of(tmp_path / "ckpt" / "run")) == []
    assert json.loads((tmp_path / "ckpt" / "run" / "cost.json").read_text())["training_seconds"] > 0


@pytest.mark.long
def test_a_machine_without_a_compiler(tiny, tmp_path):
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"), "CXX": "/nowhere/c++"}
    done = tiny("--torch_compile", "--max_steps", "2", start=run_command, env=caches)
    assert done.returncode == 1
    assert re.search(r"error: the model cannot be compiled here: .*--torch_compile false", done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
