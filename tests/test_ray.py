"""run_benchmark.py run --ray, on a real cluster of two nodes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from src.common.errors import CheckpointError
from src.common.files import hold
from tests.conftest import ROOT


@pytest.fixture
def cluster(tmp_path):
    """The cluster: `address`; `lose_node()` kills the second of its nodes, which are started in the folders home and away."""
    (tmp_path / "home").mkdir(), (tmp_path / "away").mkdir()
    command = [sys.executable, str(ROOT / "tests" / "ray_cluster.py"), str(tmp_path / "home"), str(tmp_path / "away")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def lose_node():
            process.stdin.write("\n")
            process.stdin.flush()

        line = next(line for line in process.stdout if line.startswith("address: "))
        yield SimpleNamespace(address=line.split()[1], lose_node=lose_node)
        process.stdin.close()  # ends the cluster
        process.stdout.read()


@pytest.fixture
def grid(cluster, tmp_path):
    """grid("--seeds", "1,2") starts the tiny model on nsmc; the grid is in tmp_path/ckpt."""

    def start(*arguments, ray=True, ckpt_dir=tmp_path / "ckpt"):
        flags = ["--models", "tiny", "--tasks", "nsmc", "--data_dir", "data/sample", "--ckpt_dir", str(ckpt_dir)]
        flags += ["--feature_cache_dir", str(tmp_path / "cache")]
        flags += ["--ray", cluster.address] if ray else []
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "run_benchmark.py", "run", *flags, *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)

    return start


def end_of(process, timeout=500):
    """Wait for a command; return its exit code, output and messages without the time."""
    output, errors = process.communicate(timeout=timeout)
    lines = errors.splitlines()
    return process.returncode, output.splitlines(), [line.split(" ", 1)[1] if line[:2].isdigit() else line for line in lines]


def wait_until(condition, timeout=100):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_training(folder):
    log = folder.with_name(f"{folder.name}.log")
    return log.is_file() and "training: " in log.read_text()


def is_free(folder):
    try:
        os.close(hold(folder.with_name(f".{folder.name}.cell.lock"), folder.name))
    except CheckpointError:
        return False
    return True


def results_in(folder):
    return {path.parent.name: path.read_bytes() for path in folder.glob("benchmark/tiny/nsmc/seed-*/eval_results.json")}


@pytest.mark.long
def test_each_node_runs_a_cell(grid, tmp_path):
    """The results equal those of the local pool."""
    flags = ("--seeds", "1,2", "--max_steps", "2")
    local = grid(*flags, ckpt_dir=tmp_path / "local", ray=False)
    code, _, messages = end_of(grid(*flags))
    assert code == 0, messages
    assert messages[-1].startswith("2 of 2 runs are finished.")
    assert sorted(line.split()[0] for line in messages if " starts on " in line) == ["tiny/nsmc/seed-1", "tiny/nsmc/seed-2"]
    assert end_of(local)[0] == 0
    assert results_in(tmp_path / "ckpt") == results_in(tmp_path / "local")
    assert not list((tmp_path / "ckpt" / "benchmark").glob(".driver-*"))

    code, lines, _ = end_of(grid(*flags, "--gpus_per_run", "0", "--cpus_per_run", "3", "--dry_run"))
    assert (code, lines[0]) == (0, "# runs: 2 finished")
    assert lines[1] == "# each run asks for 3 CPUs and 0 GPUs"
    assert lines[2] == "# the cluster has 2 nodes with 1 CPU and 0 GPUs"
    assert "can ever be scheduled" in lines[3]


@pytest.mark.long
def test_nodes_that_share_no_storage(grid, tmp_path):
    """The path means another folder in each process: the working directory of the driver or of its node."""
    code, _, messages = end_of(grid("--seeds", "1,2", "--max_steps", "2", ckpt_dir="/proc/self/cwd/ckpt/test-ray"))
    assert code == 2 and "--ckpt_dir /proc/self/cwd/ckpt/test-ray" in messages[-1] and socket.gethostname() in messages[-1]
    shutil.rmtree(ROOT / "ckpt" / "test-ray")
    assert not any((tmp_path / name / "ckpt").exists() for name in ("home", "away"))


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_other_commands_and_signals(grid, tmp_path, number):
    """A second command finds the cell busy; a signal stops it with its state saved."""
    flags = ("--seeds", "1", "--max_steps", "5000")
    folder = tmp_path / "ckpt" / "benchmark" / "tiny" / "nsmc" / "seed-1"
    first = grid(*flags)
    wait_until(lambda: is_training(folder))
    code, _, messages = end_of(grid(*flags))
    assert code == 1 and any(line.startswith("busy: tiny/nsmc/seed-1: process ") for line in messages)
    first.send_signal(number)
    code, _, messages = end_of(first)
    assert code == 128 + number and messages[-1].startswith(f"interrupted by {number.name}; "), messages
    assert (folder / "resume" / "state.safetensors").is_file() and is_free(folder)
    assert "interrupted by SIGTERM" in folder.with_name("seed-1.log").read_text()

    code, _, messages = end_of(grid(*flags, "--gpus_per_run", "1"))
    assert code == 2 and "can ever be scheduled" in messages[-1]


@pytest.mark.long
def test_a_lost_node(cluster, grid, tmp_path):
    """Its cell resumes on the other node, and all results equal those of the local pool."""
    flags = ("--seeds", "1,2", "--max_steps", "40", "--save_steps", "5")
    process = grid(*flags)
    folders = [tmp_path / "ckpt" / "benchmark" / "tiny" / "nsmc" / f"seed-{seed}" for seed in (1, 2)]
    wait_until(lambda: all((folder / "resume" / "state.safetensors").is_file() for folder in folders))
    cluster.lose_node()
    code, _, messages = end_of(process)
    assert code == 0, messages
    ends = [line.split(":")[0] for line in messages if " of 2" in line and "acc " in line]
    assert sorted(ends) == ["tiny/nsmc/seed-1", "tiny/nsmc/seed-2"]
    logs = [folder.with_name(f"{folder.name}.log").read_text() for folder in folders]
    assert sum("resuming from step" in log for log in logs) == 1
    assert end_of(grid(*flags, ckpt_dir=tmp_path / "local", ray=False))[0] == 0
    assert results_in(tmp_path / "ckpt") == results_in(tmp_path / "local")


@pytest.mark.long
def test_a_driver_that_is_killed(grid, tmp_path):
    """Its cells save their state and end."""
    process = grid("--seeds", "1,2", "--max_steps", "5000")
    folders = [tmp_path / "ckpt" / "benchmark" / "tiny" / "nsmc" / f"seed-{seed}" for seed in (1, 2)]
    wait_until(lambda: all(map(is_training, folders)))
    process.kill()
    end_of(process)
    wait_until(lambda: all(map(is_free, folders)), timeout=20)
    assert all((folder / "resume" / "state.safetensors").is_file() for folder in folders)
