import io
from collections import deque

import pytest
from rich.console import Console

from processor.definition import TASKS
from src.grid.devices import Device
from src.grid.display import LineDisplay, LiveDisplay, can_redraw
from src.grid.estimate import Estimate
from src.grid.pool import Outcome, Pool, Running
from tests.src.grid.helpers import make_cells
from tests.src.report.helpers import finished


@pytest.fixture
def grid(tmp_path, stopped_clock):
    """tiny on nsmc: one run finished, one running, one waiting; on paws: one failed, two waiting. kobert was finished before."""
    cells = make_cells("tiny,kobert", "nsmc,paws", "1,2,3", ["--ckpt_dir", str(tmp_path)], TASKS)
    mine = {cell.name: cell for cell in cells if cell.model == "tiny"}
    finished(tmp_path, model="tiny", score=91.0)
    active, failed = mine["tiny/nsmc/seed-2"], mine["tiny/paws/seed-1"]
    waiting = [mine["tiny/nsmc/seed-3"], mine["tiny/paws/seed-2"], mine["tiny/paws/seed-3"]]
    active.output.write_text("12:00:00 hello\n12:00:05 step 5/10, loss 0.5000, 0:05 left\n")
    ended = [Outcome(mine["tiny/nsmc/seed-1"], "done", "", 60.0), Outcome(failed, "failed", "no such file", 3.0)]
    running = [Running(active, Device("gpu 1", {}), stopped_clock - 5)]
    estimate = Estimate()
    estimate.add(mine["tiny/nsmc/seed-1"], 60.0)
    return cells, Pool(deque(waiting), [Device("gpu 1", {})], running, ended), estimate


def rendered(display, pool):
    console = Console(file=io.StringIO(), width=100)
    console.print(display.render(pool))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_logs_starts_and_ends_once(grid, caplog):
    cells, pool, estimate = grid
    with caplog.at_level("INFO"):
        display = LineDisplay(cells, TASKS, estimate)
        display.show(pool, pool.ended)
        display.show(pool, [])
    assert caplog.messages == [
        "tiny/nsmc/seed-1: acc 91.00 in 1:00 (8 of 12; 1:55 and 2 runs of unknown length left)",
        "tiny/paws/seed-1: failed: no such file (8 of 12; 1:55 and 2 runs of unknown length left)",
        "tiny/nsmc/seed-2 starts on gpu 1",
    ]


def test_live_table(grid):
    cells, pool, estimate = grid
    lines = rendered(LiveDisplay(cells, TASKS, estimate), pool)
    assert "tiny 1/3 ▶1 0/3 ✗1" in lines
    assert "kobert 3/3 3/3" in lines
    assert "▶ tiny/nsmc/seed-2 on gpu 1 0:05 step 5/10, loss 0.5000, 0:05 left" in lines
    assert lines[-1] == "7 of 12 done, 1 failed, 1:55 and 2 runs of unknown length left"


def test_shows_once_that_it_is_stopping(grid, caplog):
    """Interrupted runs do not count as failed."""
    cells, pool, estimate = grid
    pool.signals.append(2)
    with caplog.at_level("INFO"):
        display = LineDisplay(cells, TASKS, estimate)
        display.show(pool, []), display.show(pool, [])
    assert len([message for message in caplog.messages if "Ctrl-C" in message]) == 1
    pool.ended.append(Outcome(pool.running.pop().cell, "interrupted", "interrupted by SIGTERM", 3.0))
    assert "tiny 1/3 0/3 ✗1" in rendered(LiveDisplay(cells, TASKS, estimate), pool)


def test_dumb_terminals_get_lines(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for term, expected in [("xterm", True), ("dumb", False)]:
        monkeypatch.setenv("TERM", term)
        assert can_redraw() is expected


@pytest.mark.parametrize(
    ("output", "shown"),
    [("", ""), ("x" * 10_000 + "\n12:00:05 step 5\n\n", " step 5"), ("Traceback\nKeyError: 1\n", " KeyError: 1")],
)
def test_shows_the_last_line_of_a_running_cell(grid, output, shown):
    cells, pool, estimate = grid
    pool.running[0].cell.output.write_text(output)
    assert f"▶ tiny/nsmc/seed-2 on gpu 1 0:05{shown}" in rendered(LiveDisplay(cells, TASKS, estimate), pool)
