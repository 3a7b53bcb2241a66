import io
from collections import deque
from types import SimpleNamespace

import pytest
from rich.console import Console

from processor import TASKS
from src.grid.cells import make_cells
from src.grid.display import Lines, Live, can_draw, last_line
from src.grid.estimate import Estimate
from src.grid.pool import Device, Outcome, Pool, Running
from tests.src.grid.helpers import finished


@pytest.fixture
def grid(tmp_path, stopped_clock):
    """Of tiny on nsmc one run is finished, of two more one is at work; on paws one has failed and two wait."""
    cells = make_cells("tiny,kobert", "nsmc,paws", "1,2,3", ["--ckpt_dir", str(tmp_path)], TASKS)
    mine = {cell.name: cell for cell in cells if cell.model == "tiny"}
    finished(tmp_path, model="tiny", score=91.0)
    at_work, failed = mine["tiny/nsmc/seed-2"], mine["tiny/paws/seed-1"]
    waiting = [mine["tiny/nsmc/seed-3"], mine["tiny/paws/seed-2"], mine["tiny/paws/seed-3"]]
    at_work.output.write_text("12:00:00 hello\n12:00:05 step 5/10, loss 0.5000, 0:05 left\n")
    ended = [Outcome(mine["tiny/nsmc/seed-1"], "done", "", 60.0), Outcome(failed, "failed", "no such file", 3.0)]
    running = [Running(at_work, Device("gpu 1", {}), SimpleNamespace(), stopped_clock - 5, 0)]
    return cells, Pool(deque(waiting), [Device("gpu 1", {})], running, ended)


def test_lines(grid, caplog):
    cells, pool = grid
    with caplog.at_level("INFO"), Lines(cells, TASKS, Estimate(), set(cells)) as display:
        display.show(pool)
        display.show(pool)
    assert caplog.messages == [
        "tiny/nsmc/seed-1: acc 91.00 in 1:00 (8 of 12; 1:55 and 2 runs of unknown length left)",
        "tiny/paws/seed-1: failed: no such file (8 of 12; 1:55 and 2 runs of unknown length left)",
        "tiny/nsmc/seed-2 starts on gpu 1",
    ]


def test_the_live_table(grid):
    """The finished of all runs in each cell; kobert's were all there before."""
    cells, pool = grid
    display = Live(cells, TASKS, Estimate(), set(cells))
    display.new_outcomes(pool)
    console = Console(file=io.StringIO(), width=100)
    console.print(display.picture(pool))
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert "tiny 1/3 ▶1 0/3 ✗1" in lines
    assert "kobert 3/3 3/3" in lines
    assert "▶ tiny/nsmc/seed-2 on gpu 1 0:05 step 5/10, loss 0.5000, 0:05 left" in lines
    assert lines[-1] == "7 of 12 done, 1 failed, 1:55 and 2 runs of unknown length left"


def test_what_went_on_from_somewhere_says_nothing_of_a_whole_run(grid):
    cells, pool = grid
    estimate = Estimate()
    Lines(cells, TASKS, estimate, set()).new_outcomes(pool)
    assert not estimate.seconds


def test_it_is_ending(grid, caplog):
    """Those that were interrupted have not failed."""
    cells, pool = grid
    pool.asked = 2
    with caplog.at_level("INFO"):
        display = Lines(cells, TASKS, Estimate(), set(cells))
        display.show(pool), display.show(pool)
    told = "ending: 1 runs are saving their state; once more Ctrl-C does not wait for it"
    assert caplog.messages.count(told) == 1
    pool.ended.append(Outcome(pool.running.pop().cell, "interrupted", "interrupted by SIGTERM", 3.0))
    console = Console(file=io.StringIO(), width=100)
    console.print(Live(cells, TASKS, Estimate(), set(cells)).picture(pool))
    assert "tiny 1/3 0/3 ✗1" in [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_a_terminal_that_cannot_draw(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for term, expected in [("xterm", True), ("dumb", False)]:
        monkeypatch.setenv("TERM", term)
        assert can_draw() is expected


def test_the_last_line_of_a_long_output(tmp_path):
    (cell,) = make_cells("tiny", "nsmc", "1", ["--ckpt_dir", str(tmp_path)], TASKS)
    assert last_line(cell) == ""
    cell.output.parent.mkdir(parents=True)
    cell.output.write_text("x" * 10_000 + "\n12:00:05 step 5\n\n")
    assert last_line(cell) == "step 5"
    cell.output.write_text("Traceback\nKeyError: 1\n")
    assert last_line(cell) == "KeyError: 1"
