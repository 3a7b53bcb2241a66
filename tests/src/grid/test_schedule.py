"""run_grid, on cells whose processes are scripts of the test."""

import pytest

from processor import TASKS
from src.grid import pool, schedule
from src.grid.cells import Cell
from src.grid.display import Lines
from tests.src.grid.helpers import finished
from tests.src.helpers import DEFAULTS


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(pool, "POLL", 0.01)


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """grid({"a": ("new", "", "print(1)")}, dry_run) runs a cell for each: its status, why, and what its process runs."""

    def make(wanted, dry_run=False):
        statuses = {}
        for model, (status, why, code) in wanted.items():
            script = tmp_path / f"{model}.py"
            script.write_text(code)
            settings = DEFAULTS.model_copy(update={"ckpt_dir": str(tmp_path), "output_dir": f"benchmark/{model}/nsmc/seed-1"})
            statuses[Cell(model, "nsmc", 1, str(script), (), settings)] = (status, why)
        monkeypatch.setattr(schedule, "look", lambda *arguments: statuses)
        return schedule.run_grid(list(statuses), "", dry_run, TASKS, lambda settings: {})

    return make


def test_what_is_to_be_done_is_said_and_done(grid, caplog):
    with caplog.at_level("INFO"):
        assert grid({"a": ("finished", "", "1 / 0"), "b": ("afresh", "holds another", ""), "c": ("new", "", "")}) == 0
    assert caplog.messages[0] == "runs: 1 finished, 1 to start afresh, 1 new"
    assert caplog.messages[1] == "b/nsmc/seed-1 starts afresh: it holds another; what is there is kept beside it"
    assert caplog.messages[-1].startswith("3 of 3 runs are finished. Next: python3 run_benchmark.py report --ckpt_dir ")
    assert not any(message.startswith("a/nsmc/seed-1") for message in caplog.messages)


def test_runs_that_failed_for_one_reason_stand_in_one_line(grid, caplog, tmp_path):
    fails = "import sys; sys.exit('error: no network')"
    with caplog.at_level("INFO"):
        assert grid({"a": ("new", "", fails), "b": ("new", "", fails), "c": ("new", "", "")}) == 1
    output = tmp_path / "benchmark" / "a" / "nsmc" / "seed-1.log"
    assert f"failed: a/nsmc/seed-1, b/nsmc/seed-1: no network ({output})" in caplog.messages
    assert "1 of 3 runs are finished; the same command tries the others again" in caplog.text


def test_a_grid_that_cannot_be_made(grid, caplog, tmp_path):
    (tmp_path / "benchmark").touch()
    assert grid({"a": ("new", "", "")}) == 1
    assert f"failed: a/nsmc/seed-1: {tmp_path}/benchmark/a" in caplog.text


def test_what_is_no_good_for_the_table_is_not_called_finished(grid, caplog, tmp_path):
    """Its process takes it for finished, but its costs are damaged."""
    (finished(tmp_path, model="kobert").folder / "cost.json").write_text("{}")
    assert grid({"kobert": ("finished", "", "")}) == 1
    assert "damaged: kobert/nsmc/seed-1: there is no cost.json. Move it away, and the same command runs it again." in caplog.text


def test_a_shell_can_read_what_a_dry_run_prints(grid, capsys):
    """A reason of many lines, too, is a comment."""
    assert grid({"a": ("broken", "not there:\n  - /x/y", ""), "b": ("new", "", "")}, dry_run=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["# runs: 1 broken, 1 new", "# a/nsmc/seed-1 is tried, but may be broken: not there:", "#   - /x/y"]
    assert [line.split()[0] for line in lines[3:]] == ["python3", "python3", "#"]


def test_what_goes_on_is_no_whole_run(grid, monkeypatch):
    seen = []

    class Spy(Lines):
        def __init__(self, cells, known, estimate, whole):
            seen.append({cell.model for cell in whole})
            super().__init__(cells, known, estimate, whole)

    monkeypatch.setattr(schedule, "Lines", Spy)
    assert grid({"a": ("resumed", "", ""), "b": ("new", "", ""), "c": ("broken", "", "")}) == 0
    assert seen == [{"b", "c"}]


def test_nothing_to_do(grid, caplog, capsys):
    with caplog.at_level("INFO"):
        assert grid({"a": ("finished", "", "")}) == 0
    assert caplog.messages[0] == "runs: 1 finished"
    assert grid({"a": ("finished", "", "")}, dry_run=True) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "# nothing is to do"
