"""run_grid, on cells whose processes run code of the test instead of a run script."""

import json
from dataclasses import replace

import pytest

from src.grid import pool, schedule
from tests.src.grid.helpers import request_for
from tests.src.report.helpers import cell_of, finished

FAILS = "import sys; sys.exit('error: no network')"


@pytest.fixture(autouse=True)
def poll_often(monkeypatch):
    monkeypatch.setattr(pool, "POLL", 0.01)


@pytest.fixture
def run(tmp_path):
    """run([cell, ...], "print(1)") runs cells with this code, each with its own if a list is given."""

    def run_cells(cells, code="", dry_run=False):
        codes = code if isinstance(code, list) else [code] * len(cells)
        scripts = [tmp_path / f"script-{number}.py" for number in range(len(cells))]
        for script, text in zip(scripts, codes, strict=True):
            script.write_text(text)
        cells = [replace(cell, script=str(script), flags=()) for cell, script in zip(cells, scripts, strict=True)]
        return schedule.run_grid(cells, request_for(dry_run=dry_run))

    return run_cells


def test_runs_what_is_not_finished(run, tmp_path, caplog):
    cells = [finished(tmp_path, "kobert"), cell_of(tmp_path, "tiny"), cell_of(tmp_path, "kcbert-base")]
    finished(tmp_path, "tiny", rest=("--max_steps", "10"))
    with caplog.at_level("INFO"):
        assert run(cells, ["1 / 0", "", ""]) == 1  # no process writes results: two runs are still not finished
    assert caplog.messages[0] == "runs: 1 finished, 1 to start over, 1 new"
    assert caplog.messages[1].startswith("tiny/nsmc/seed-1 starts over: ") and "max_steps 10, now -1" in caplog.messages[1]
    assert {message.split()[0] for message in caplog.messages if " starts" in message} == {cell.name for cell in cells[1:]}


def test_names_the_next_command(run, tmp_path, caplog):
    folder = tmp_path / "a b"
    with caplog.at_level("INFO"):
        assert run([finished(folder)]) == 0
    assert caplog.messages[0] == "runs: 1 finished"
    assert caplog.messages[-1].startswith("1 of 1 runs are finished")
    assert caplog.messages[-1].endswith(f"python3 run_benchmark.py report --ckpt_dir '{folder}'")


def test_reports_runs_that_failed_for_the_same_reason_in_one_line(run, tmp_path, caplog):
    with caplog.at_level("INFO"):
        assert run([cell_of(tmp_path, "kobert"), cell_of(tmp_path, "tiny"), finished(tmp_path)], FAILS) == 1
    output = tmp_path / "benchmark" / "kobert" / "nsmc" / "seed-1.log"
    assert f"failed: kobert/nsmc/seed-1, tiny/nsmc/seed-1: no network ({output})" in caplog.messages
    assert caplog.messages[-1].startswith("1 of 3 runs are finished; ")


def test_reports_a_grid_folder_that_cannot_be_made(run, tmp_path, caplog):
    (tmp_path / "benchmark").touch()
    assert run([cell_of(tmp_path, "tiny")]) == 1
    assert f"failed: tiny/nsmc/seed-1: {tmp_path}/benchmark/tiny" in caplog.text


def test_does_not_call_a_run_finished_that_the_report_cannot_use(run, tmp_path, caplog):
    cell = finished(tmp_path, model="kobert")
    (cell.folder / "cost.json").write_text("{}")
    assert run([cell]) == 1
    assert "damaged: kobert/nsmc/seed-1: " in caplog.text


@pytest.mark.parametrize(("flags", "code"), [((), 1), (("--do_eval", "false"), 0)])
def test_unscored_runs_are_not_finished_unless_evaluation_is_off(run, tmp_path, caplog, flags, code):
    cell = finished(tmp_path, rest=flags)
    results = json.loads((cell.folder / "eval_results.json").read_text()) | {"best_on_test": None}
    (cell.folder / "eval_results.json").write_text(json.dumps(results))
    assert run([cell]) == code
    assert ("unfinished: koelectra-base-v3/nsmc/seed-1: " in caplog.text) == bool(code)


def test_dry_run_prints_what_a_shell_can_execute(run, tmp_path, capsys):
    damaged = finished(tmp_path)
    (damaged.folder / "settings.json").write_text("{")
    assert run([damaged, cell_of(tmp_path, "tiny")], dry_run=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["#", "#", "python3", "python3", "#"]
    assert lines[1].startswith(f"# {damaged.name} ") and "settings.json" in lines[1]
    assert not (tmp_path / "benchmark" / "tiny").exists()


def test_dry_run_of_nothing(run, tmp_path, capsys):
    assert run([finished(tmp_path)], dry_run=True) == 0
    assert [line[0] for line in capsys.readouterr().out.splitlines()] == ["#", "#"]


@pytest.mark.parametrize("resumes", [True, False])
def test_only_whole_runs_improve_the_estimate(run, tmp_path, caplog, resumes):
    """The rest of a resumed run takes less time than a new run."""
    first = finished(tmp_path, seed=1) if resumes else cell_of(tmp_path, seed=1)
    if resumes:
        (first.folder / "cost.json").unlink()
    with caplog.at_level("INFO"):
        run([first, cell_of(tmp_path, seed=2)])
    (message,) = [message for message in caplog.messages if "(1 of 2" in message]
    assert (" left)" in message) == (not resumes)
