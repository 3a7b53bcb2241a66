"""run_benchmark.py run --ray, on a real cluster of two nodes in two checkouts, which share only what has an absolute path."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.common.errors import CheckpointError
from src.common.files import hold
from tests.conftest import ROOT

CHECKOUT = ("src", "processor", "config", "data/sample", *(path.name for path in ROOT.glob("*.py")))


def copy_checkout(folder: Path) -> Path:
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def cluster(tmp_path):
    """The cluster: `address`; `home` and `away`, the checkouts of its nodes; `lose_node()` kills the second one."""
    home, away = copy_checkout(tmp_path / "home"), copy_checkout(tmp_path / "away")
    command = [sys.executable, str(ROOT / "tests" / "ray_cluster.py"), str(home), str(away)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def lose_node():
            process.stdin.write("\n")
            process.stdin.flush()

        line = next(line for line in process.stdout if line.startswith("address: "))
        yield SimpleNamespace(address=line.split()[1], home=home, away=away, lose_node=lose_node)
        process.stdin.close()  # ends the cluster
        process.stdout.read()


@pytest.fixture
def grid(cluster):
    """grid("--seeds", "1,2") starts the tiny model on nsmc from the first checkout; the grid is in its ckpt/."""

    def start(*arguments, ray=True, name="run"):
        flags = ["--models", "tiny", "--tasks", "nsmc", "--data_dir", "data/sample"] if name == "run" else []
        flags += ["--ray", cluster.address] if ray else []
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "run_benchmark.py", name, *flags, *arguments]
        return subprocess.Popen(command, cwd=cluster.home, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)

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
def test_nodes_that_share_no_disk(cluster, grid):
    """Each node runs one cell. What the second one writes comes back, except for weights, and the report has both."""
    flags = ("--seeds", "1,2", "--max_steps", "2")
    local = grid(*flags, "--ckpt_dir", "local", ray=False)
    code, _, messages = end_of(grid(*flags))
    assert code == 0, messages
    assert messages[-1].startswith("2 of 2 runs are finished.")
    assert sorted(line.split()[0] for line in messages if " starts on " in line) == ["tiny/nsmc/seed-1", "tiny/nsmc/seed-2"]
    assert end_of(local)[0] == 0
    assert results_in(cluster.home / "ckpt") == results_in(cluster.home / "local")

    ((seed, _),) = results_in(cluster.away / "ckpt").items()  # the other cell ran on the first node
    far, near = (folder / "ckpt" / "benchmark" / "tiny" / "nsmc" for folder in (cluster.away, cluster.home))
    written = {path.relative_to(far / seed) for path in (far / seed).rglob("*") if path.is_file()}
    returned = {path.relative_to(near / seed) for path in (near / seed).rglob("*")} - {Path("test"), Path("dev")}
    assert {path.parts[0] for path in written - returned} == {"checkpoint-2"} and returned <= written
    assert Path("test/predictions-2.tsv") in returned
    assert (near / f"{seed}.log").read_bytes() == (far / f"{seed}.log").read_bytes()
    assert is_free(near / "seed-1") and is_free(near / "seed-2")

    compared = grid("tiny", "tiny", name="compare", ray=False)
    code, lines, _ = end_of(grid(*flags, "--gpus_per_run", "0", "--cpus_per_run", "3", "--dry_run"))
    assert (code, lines[0]) == (0, "# runs: 2 finished")  # without weights, too
    assert lines[1] == "# each run asks for 3 CPUs and 0 GPUs"
    assert lines[2] == "# the cluster has 2 nodes with 1 CPU and 0 GPUs"
    assert "can ever be scheduled" in lines[3]
    assert end_of(compared)[0] == 0


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_other_commands_and_signals(cluster, grid, number):
    """A second command finds the cell busy; a signal stops it with its state saved."""
    ckpt = cluster.home / "ckpt"  # absolute: both nodes share it
    flags = ("--seeds", "1", "--max_steps", "5000", "--ckpt_dir", str(ckpt))
    folder = ckpt / "benchmark" / "tiny" / "nsmc" / "seed-1"
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
def test_a_lost_node(cluster, grid):
    """Its cell resumes on the other node, and all results equal those of the local pool."""
    ckpt = cluster.home / "ckpt"
    flags = ("--seeds", "1,2", "--max_steps", "40", "--save_steps", "5")
    process = grid(*flags, "--ckpt_dir", str(ckpt))
    folders = [ckpt / "benchmark" / "tiny" / "nsmc" / f"seed-{seed}" for seed in (1, 2)]
    wait_until(lambda: all((folder / "resume" / "state.safetensors").is_file() for folder in folders))
    cluster.lose_node()
    code, _, messages = end_of(process)
    assert code == 0, messages
    ends = [line.split(":")[0] for line in messages if " of 2" in line and "acc " in line]
    assert sorted(ends) == ["tiny/nsmc/seed-1", "tiny/nsmc/seed-2"]
    logs = [folder.with_name(f"{folder.name}.log").read_text() for folder in folders]
    assert sum("resuming from step" in log for log in logs) == 1
    assert end_of(grid(*flags, "--ckpt_dir", "local", ray=False))[0] == 0
    assert results_in(ckpt) == results_in(cluster.home / "local")


@pytest.mark.long
def test_a_driver_that_is_killed(cluster, grid):
    """Its cells save their state and end."""
    ckpt = cluster.home / "ckpt"
    process = grid("--seeds", "1,2", "--max_steps", "5000", "--ckpt_dir", str(ckpt))
    folders = [ckpt / "benchmark" / "tiny" / "nsmc" / f"seed-{seed}" for seed in (1, 2)]
    wait_until(lambda: all(map(is_training, folders)))
    process.kill()
    end_of(process)
    wait_until(lambda: all(map(is_free, folders)), timeout=20)
    assert all((folder / "resume" / "state.safetensors").is_file() for folder in folders)
