"""A node of a cluster, without a cluster: the board answers at once."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ray", reason="needs the package of requirements-ray.txt")

from src.common.files import hold
from src.grid import ray_node
from src.grid.devices import Device
from src.grid.pool import lock_file
from src.grid.ray_node import Board, run_on_node
from tests.src.report.helpers import cell_of

WAITS = """
import signal, sys, time
def end(number, frame):
    sys.exit("interrupted by SIGTERM; saved")
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def node(tmp_path, monkeypatch):
    """node("print(1)") runs a cell with this code; returns how it ended, and the cell. `node.board` is the board."""
    monkeypatch.setattr(ray_node, "_ask", lambda method, *arguments: method(*arguments))
    monkeypatch.setattr(ray_node, "PAUSE", 0.01)
    monkeypatch.setattr(ray_node, "RETRY", 0.01)
    context = SimpleNamespace(get_node_id=lambda: "n1")
    monkeypatch.setattr(ray_node.ray, "get_runtime_context", lambda: context)
    (tmp_path / "marker").touch()

    def run(code, marker="marker"):
        (tmp_path / "script.py").write_text(code)
        run.cell = replace(cell_of(tmp_path, "tiny"), script=str(tmp_path / "script.py"), flags=())
        device = Device("", {"OMP_NUM_THREADS": "3"})
        return run_on_node(run.cell, device, tmp_path / marker, Path.cwd(), run.board)

    run.board = Board()
    return run


def test_runs_a_cell(node):
    end, reason, seconds = node("import os; print(os.environ['OMP_NUM_THREADS'])")
    assert (end, reason) == ("done", "") and 0 < seconds < 60
    assert node.cell.output.read_text() == "3\n"
    assert node.board.list_running()["tiny/nsmc/seed-1"][0] == "n1"
    assert node("import sys; sys.exit('error: no network')")[:2] == ("failed", "no network")


def test_passes_a_signal_of_the_driver_on(node):
    count, asked = node.board.count_signals, []

    def count_signals():
        asked.append(node.cell.output.exists() and "ready" in node.cell.output.read_text())
        if asked[-1] and not count():
            node.board.stop()
        return count()

    node.board.count_signals = count_signals
    assert node(WAITS)[:2] == ("interrupted", "interrupted by SIGTERM; saved")
    assert node(WAITS)[0] == "interrupted"  # and does not start
    assert "ready" in node.cell.output.read_text()


def test_a_node_that_ends_lets_ray_start_the_cell_elsewhere(node):
    signals = [signal.SIGTERM]
    node.board.count_signals = lambda: (signals and os.kill(os.getpid(), signals.pop())) or 0
    with pytest.raises(SystemExit):
        node("import time; time.sleep(60)")


def test_a_retry_waits_until_the_cell_is_released(node, tmp_path):
    cell = cell_of(tmp_path, "tiny")
    cell.folder.mkdir(parents=True)
    lock = hold(lock_file(cell), cell.name)  # as the process on a node that was cut off
    assert node("")[0] == "busy"
    ask, answers = node.board.count_signals, []

    def count_signals():
        answers.append(1)
        if len(answers) == 3:
            os.close(lock)
        return ask()

    node.board.count_signals = count_signals
    assert node("")[0] == "done" and len(answers) >= 3


def test_a_node_that_does_not_share_the_folder_runs_nothing(node, tmp_path):
    end, reason, _ = node("print(1)", marker="none")
    assert end == "failed" and f"--ckpt_dir {tmp_path}" in reason and not node.cell.output.exists()


def test_no_cell_starts_after_a_signal():
    board = Board()
    assert board.start("a", "n1", "host") == 0 and board.start("a", "n2", "host") == 1
    assert board.list_running()["a"][:2] == ("n2", "host")
    board.stop()
    assert board.count_signals() == 1 and board.start("b", "n1", "host") is None
    board.end("a")
    assert board.list_running() == {}
