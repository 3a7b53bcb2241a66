import json
import os
import shutil

import pytest

from processor.definition import TASKS
from src.common.errors import CheckpointError
from src.report.read_runs import NotReported, last_message, missing_runs, read_grid
from src.report.report import Request, write_report
from tests.conftest import ROOT
from tests.src.report.helpers import PUBLISHED, cell_of, finished, records_in

HERE = "koelectra-base-v3/nsmc"


def others_in(tmp_path):
    return {run.place: (run.kind, run.reason) for run in read_grid(tmp_path, TASKS)[1]}


@pytest.fixture
def folder(tmp_path):
    """The folder of a task with one finished run, seed-1."""
    return finished(tmp_path).folder.parent


def test_no_grid(tmp_path):
    with pytest.raises(CheckpointError, match=rf"{tmp_path}/benchmark/.*--ckpt_dir.*run_benchmark\.py run"):
        read_grid(tmp_path, TASKS)


def test_unfinished_runs(tmp_path, folder):
    def without(seed, *names):
        run = finished(tmp_path, seed=seed).folder
        for name in names:
            (run / name).unlink()
        return run

    without(2, "eval_results.json")
    (without(3, "cost.json", "eval_results.json") / "log.jsonl").write_text('{"step": 50}\n{"step": 100, "lo')
    (without(4, "cost.json") / "log.jsonl").write_text('{"step": 70}\n')  # scored before the end of its training
    (folder / "seed-6.log").write_text("")
    results = finished(tmp_path, seed=9).folder / "eval_results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"best_on_test": None}))
    (folder / "seed-11").mkdir()
    others = others_in(tmp_path)
    assert {place: kind for place, (kind, _) in others.items()} == {f"{HERE}/seed-{n}": "unfinished" for n in (2, 3, 4, 6, 9, 11)}
    assert "step 50 " in others[f"{HERE}/seed-3"][1] and "step 70 " in others[f"{HERE}/seed-4"][1]
    assert "--do_eval" in others[f"{HERE}/seed-9"][1]


def test_failed_runs(tmp_path, folder):
    (finished(tmp_path, seed=14).folder / "eval_results.json").unlink()
    (folder / "seed-14.log").write_text("12:00:00 step 5\nerror: no space\n")
    (folder / "seed-5.log").write_text("12:00:00 hello\nerror: these cannot be used:\n  - a: b\n")  # it has no folder
    assert others_in(tmp_path) == {
        f"{HERE}/seed-14": ("failed", "no space"),
        f"{HERE}/seed-5": ("failed", "these cannot be used: - a: b"),
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('{"task": ', '{"task", ', "eval_results.json is damaged"),
        ("0.9", "1e999", "finite number"),
        ("0.9", "NaN", "NaN"),
        ('"step": 20', '"step": 30', "eval_results.json"),
        ('"acc"', '"accuracy"', "acc"),
    ],
)
def test_damaged_runs(tmp_path, old, new, expected):
    path = finished(tmp_path).folder / "eval_results.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    kind, reason = others_in(tmp_path)[f"{HERE}/seed-1"]
    assert kind == "damaged" and expected in reason


def test_everything_else_is_ignored(tmp_path, folder):
    root = tmp_path / "benchmark"
    shutil.copytree(folder / "seed-1", folder / "seed-10")
    shutil.copytree(folder / "seed-1", folder / "seed-1.1")
    (folder / "seed-12").mkdir()
    (folder / "seed-12" / "notes.txt").touch()
    settings = finished(tmp_path, seed=13).folder / "settings.json"
    settings.write_text(settings.read_text().replace('"koelectra-base-v3.json"', '"tiny.json"'))
    (folder / "notes.txt").touch()
    (folder / "seed-01").mkdir()
    shutil.copytree(folder / "seed-1", folder.parent / "my-nsmc")
    shutil.copytree(folder / "seed-1", root / "koelectra-nsmc-ckpt")
    (root / "empty").mkdir()
    expected = {
        f"{HERE}/seed-10": "seed 1",
        f"{HERE}/seed-1.1": "earlier run of seed-1",
        f"{HERE}/seed-12": "settings.json",
        f"{HERE}/seed-13": "model 'tiny'",
        f"{HERE}/notes.txt": "seed-<n>",
        f"{HERE}/seed-01": "seed-<n>",
        "koelectra-base-v3/my-nsmc": ", ".join(TASKS),
        "koelectra-nsmc-ckpt": "model folder",
        "empty": "model folder",
    }
    (root / "koelectra-base-v3" / "results.md").mkdir()  # a name of the report is that of a task elsewhere
    expected["koelectra-base-v3/results.md"] = "not a task folder"
    for name in (".seed-1.lock", "seed-1.log"):  # not even mentioned
        (folder / name).touch()
    (root / "results.md").touch()
    others = others_in(tmp_path)
    assert others.keys() == expected.keys()
    for place, part in expected.items():
        assert others[place][0] == "ignored" and part in others[place][1]
    assert [record.seed for record in records_in(tmp_path)] == [1]


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
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
def test_reports_the_grid_whatever_its_files_hold(tmp_path, name, path, every):
    """One value of a run is replaced by others, of which every third is tried if not all, or removed."""
    finished(tmp_path, model="kobert")
    file = finished(tmp_path).folder / f"{name}.json"
    good = json.loads(file.read_text())
    for value in [*WRONG, "missing"][len(str(path)) % every :: every]:
        content = json.loads(json.dumps(good))
        holder = {"all": content}
        place, key = holder, "all"
        for part in path:
            place, key = place[key], part
        place[key] = value
        if value == "missing":
            del place[key]
        file.write_text(json.dumps(holder.get("all")))
        text = write_report(Request(tmp_path), TASKS, PUBLISHED, ROOT / "config")
        assert "| KoBERT | 351M |" in text
        records, others = read_grid(tmp_path, TASKS)
        assert len(records) + len(others) == 2
        if value in (None, []) and "weights" not in path:
            assert len(records) == 1
    file.write_bytes(b"\xff\xfe")
    assert len(read_grid(tmp_path, TASKS)[0]) == 1
    file.unlink()
    file.mkdir()
    assert read_grid(tmp_path, TASKS)[1][0].kind in ("damaged", "ignored")


def test_a_failure_after_a_run_was_finished(tmp_path):
    """The run stays in the table, and the later failure is reported; an earlier failure is not."""
    cell = finished(tmp_path)
    cell.output.write_text("error: no such length\n")
    for seconds, expected in [(5, ["failed"]), (-5, [])]:
        when = (cell.folder / "eval_results.json").stat().st_mtime + seconds
        os.utime(cell.output, (when, when))
        records, others = read_grid(tmp_path, TASKS)
        assert len(records) == 1
        assert [run.kind for run in others] == expected
        assert all(run.reason.startswith("no such length (") for run in others)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("12:00:00 step 1\n12:00:05 step 2\n", ""),
        ("error: old\n12:00:00 again\nerror: a file is missing. Put it there.\n", "a file is missing. Put it there."),
        ("error: wrong:\n  - one\n  - two\n", "wrong: - one - two"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'\n12:00:00 it went on\n", ""),
        ("interrupted by SIGTERM; step 5 of 9 is saved\n", "interrupted by SIGTERM; step 5 of 9 is saved"),
        ("error: " + "x" * 900, "x" * 529 + " ... " + "x" * 266),
    ],
)
def test_last_message(tmp_path, output, expected):
    (tmp_path / "seed-1.log").write_text(output)
    assert last_message(tmp_path / "seed-1.log") == expected


def test_last_message_of_no_text(tmp_path):
    assert last_message(tmp_path / "seed-1.log") == ""
    (tmp_path / "seed-1.log").write_bytes(b"error: \xff\xfe\n")
    assert last_message(tmp_path / "seed-1.log") == "\ufffd\ufffd"


def test_an_interrupted_run_has_not_failed(tmp_path):
    cell = cell_of(tmp_path)
    cell.output.parent.mkdir(parents=True)
    cell.output.write_text("interrupted by SIGTERM\n")
    assert [kind for kind, _ in others_in(tmp_path).values()] == ["unfinished"]


def test_missing_runs_are_seeds_and_tasks_that_others_have(tmp_path):
    for model, task, seed in [("tiny", "nsmc", 1), ("tiny", "nsmc", 2), ("tiny", "paws", 1), ("kcbert-base", "nsmc", 1)]:
        finished(tmp_path, model=model, task=task, seed=seed)
    others = [NotReported("failed", "kcbert-base/nsmc/seed-3", ""), NotReported("ignored", "tiny/nsmc/seed-99", "")]
    missing = missing_runs(records_in(tmp_path), others, TASKS)
    assert [(run.place, run.reason) for run in missing] == [
        ("kcbert-base/nsmc", "seed 2"),
        ("kcbert-base/paws", "seed 1, 2, 3"),
        ("tiny/nsmc", "seed 3"),
        ("tiny/paws", "seed 2, 3"),
    ]
