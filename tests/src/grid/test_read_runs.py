import json
import os
import shutil

import pytest

from processor import TASKS
from src.errors import CheckpointError
from src.grid.read_runs import last_words, read_grid
from src.grid.report import write_report
from tests.conftest import ROOT
from tests.src.grid.helpers import PUBLISHED, cell_of, finished


def left_in(tmp_path):
    return {each.place: (each.kind, each.why) for each in read_grid(tmp_path, TASKS)[1]}


def test_no_grid(tmp_path):
    with pytest.raises(CheckpointError, match=r"benchmark/ is not there\. `python3 run_benchmark\.py run` makes it"):
        read_grid(tmp_path, TASKS)


def test_what_is_no_finished_run_is_named(tmp_path):
    finished(tmp_path)
    task = tmp_path / "benchmark" / "koelectra-base-v3" / "nsmc"

    def without(seed, *names):
        folder = finished(tmp_path, seed=seed).folder
        for name in names:
            (folder / name).unlink()
        return folder

    without(2, "eval_results.json")
    (without(3, "cost.json", "eval_results.json") / "log.jsonl").write_text('{"step": 50}\n{"step": 100, "lo')
    without(4, "cost.json")
    without(14, "eval_results.json")
    (task / "seed-14.log").write_text("12:00:00 step 5\nerror: no space\n")
    results = finished(tmp_path, seed=15).folder / "eval_results.json"
    results.write_text(results.read_text().replace('"step": 20', '"step": 30'))
    (task.parent.parent / "empty").mkdir()
    (task / "seed-5.log").write_text("12:00:00 hello\nerror: these cannot be used:\n  - a: b\n")
    (task / "seed-6.log").write_text("")
    (finished(tmp_path, seed=7).folder / "eval_results.json").write_text('{"selected": ')
    results = finished(tmp_path, seed=8).folder / "eval_results.json"
    results.write_text(results.read_text().replace("0.9", "NaN"))
    results = finished(tmp_path, seed=9).folder / "eval_results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"best_on_test": None}))
    shutil.copytree(task / "seed-1", task / "seed-10")
    shutil.copytree(task / "seed-1", task / "seed-1.1")
    (task / "seed-11").mkdir()
    (task / "seed-12").mkdir()
    (task / "seed-12" / "notes.txt").touch()
    settings = finished(tmp_path, seed=13).folder / "settings.json"
    settings.write_text(settings.read_text().replace('"koelectra-base-v3.json"', '"tiny.json"'))
    (task / "notes.txt").touch()
    (task / "seed-01").mkdir()
    shutil.copytree(task / "seed-1", task.parent / "my-nsmc")
    shutil.copytree(task / "seed-1", task.parent.parent / "koelectra-nsmc-ckpt")
    (task / ".seed-1.lock").touch()
    (tmp_path / "benchmark" / "results.md").touch()
    here = "koelectra-base-v3/nsmc"
    assert left_in(tmp_path) == {
        f"{here}/seed-2": ("unfinished", "its training did not come far"),
        f"{here}/seed-3": ("unfinished", "its training came to step 50 or beyond"),
        f"{here}/seed-4": ("damaged", "there is no cost.json"),
        f"{here}/seed-14": ("failed", "no space"),
        f"{here}/seed-15": ("damaged", "eval_results.json chooses what is not among its scores"),
        "empty": ("foreign", "no model's folder: it holds no task's"),
        f"{here}/seed-5": ("failed", "these cannot be used: - a: b"),
        f"{here}/seed-6": ("unfinished", "it has just begun"),
        f"{here}/seed-7": ("damaged", left_in(tmp_path)[f"{here}/seed-7"][1]),
        f"{here}/seed-8": ("damaged", left_in(tmp_path)[f"{here}/seed-8"][1]),
        f"{here}/seed-9": ("unscored", "there are no scores on test; the same command without --do_eval false adds them"),
        f"{here}/seed-10": ("foreign", "its settings.json says seed 1"),
        f"{here}/seed-1.1": ("put aside", "an earlier run of seed-1"),
        f"{here}/seed-11": ("unfinished", "it has just begun"),
        f"{here}/seed-12": ("foreign", "no run: no settings.json"),
        f"{here}/seed-13": ("foreign", "its settings.json says that it is of the model 'tiny'"),
        f"{here}/notes.txt": ("foreign", "no run's folder; those are called seed-<n>"),
        f"{here}/seed-01": ("foreign", "no run's folder; those are called seed-<n>"),
        "koelectra-base-v3/my-nsmc": ("foreign", f"no task's folder; those are {', '.join(TASKS)}"),
        "koelectra-nsmc-ckpt": ("foreign", "no model's folder: it holds no task's"),
    }
    assert "eval_results.json is damaged" in left_in(tmp_path)[f"{here}/seed-7"][1]
    assert "finite number" in left_in(tmp_path)[f"{here}/seed-8"][1]
    assert [record.seed for record in read_grid(tmp_path, TASKS)[0]] == [1]


WRONG = ["x", "", None, [], {}, {"a": 1}, -1, 10**400, True]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("settings", []),
        ("settings", ["settings"]),
        ("settings", ["settings", "config_file"]),
        ("settings", ["layers"]),
        ("settings", ["data", "test"]),
        ("settings", ["versions"]),
        ("settings", ["device"]),
        ("settings", ["weights"]),
        ("eval_results", []),
        ("eval_results", ["data"]),
        ("eval_results", ["scores"]),
        ("eval_results", ["selected"]),
        ("eval_results", ["selected", "by"]),
        ("eval_results", ["selected", "step"]),
        ("eval_results", ["selected", "test"]),
        ("eval_results", ["best_on_test", "test", "acc"]),
        ("cost", []),
        ("cost", ["tokens_per_s"]),
        ("cost", ["preparation_seconds"]),
    ],
)
def test_records_of_other_content_never_end_in_a_traceback(tmp_path, name, path):
    """One value of a finished run is replaced by others, or missing; the report of the whole grid is built all the same."""
    finished(tmp_path, model="kobert")
    file = finished(tmp_path).folder / f"{name}.json"
    good = json.loads(file.read_text())
    for value in [*WRONG, "missing"]:
        content = json.loads(json.dumps(good))
        holder = {"all": content}
        place, key = holder, "all"
        for part in path:
            place, key = place[key], part
        place[key] = value
        if value == "missing":
            del place[key]
        file.write_text(json.dumps(holder.get("all")))
        text = write_report(tmp_path, TASKS, PUBLISHED, ROOT / "config")
        assert "| KoBERT | 351M |" in text
        records, left = read_grid(tmp_path, TASKS)
        assert len(records) + len(left) == 2
        if value in (None, []) and "weights" not in path:
            assert len(records) == 1
    file.write_bytes(b"\xff\xfe")
    assert len(read_grid(tmp_path, TASKS)[0]) == 1
    file.unlink()
    file.mkdir()
    assert read_grid(tmp_path, TASKS)[1][0].kind in ("damaged", "foreign")


def test_a_finished_run_whose_last_attempt_failed(tmp_path):
    """Its scores stand, and a later attempt, with other settings, failed; one before it was mended by hand."""
    cell = finished(tmp_path)
    cell.output.write_text("error: no such length\n")
    for seconds, expected in [(5, [("failed", "no such length (in the table is what was finished before)")]), (-5, [])]:
        when = (cell.folder / "eval_results.json").stat().st_mtime + seconds
        os.utime(cell.output, (when, when))
        records, left = read_grid(tmp_path, TASKS)
        assert len(records) == 1
        assert [(each.kind, each.why) for each in left] == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("12:00:00 step 1\n12:00:05 step 2\n", ""),
        ("error: old\n12:00:00 again\nerror: a file is missing. Put it there.\n", "a file is missing. Put it there."),
        ("error: wrong:\n  - one\n  - two\n", "wrong: - one - two"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n12:00:00 it went on\n", ""),
        ("interrupted by SIGTERM; step 5 of 9 is saved\n", "interrupted by SIGTERM; step 5 of 9 is saved"),
        ("error: " + "x" * 400, "x" * 297 + "..."),
    ],
)
def test_last_words(tmp_path, said, expected):
    (tmp_path / "seed-1.log").write_text(said)
    assert last_words(tmp_path / "seed-1.log") == expected


def test_nothing_was_said(tmp_path):
    assert last_words(tmp_path / "seed-1.log") == ""
    (tmp_path / "seed-1.log").write_bytes(b"error: \xff\xfe\n")
    assert last_words(tmp_path / "seed-1.log") == "\ufffd\ufffd"


def test_an_interrupted_cell_is_unfinished_not_failed(tmp_path):
    cell = cell_of(tmp_path)
    cell.output.parent.mkdir(parents=True)
    cell.output.write_text("interrupted by SIGTERM\n")
    assert left_in(tmp_path) == {cell.name: ("unfinished", "it has just begun")}
