"""Merging grids, read by the functions and through the real command line."""

import csv
import json

import pytest

from processor.definition import TASKS
from src.report.read_runs import folders_to_read, read_grids
from tests.commands import run_script
from tests.src.report.helpers import finished, predictions

BY_BOTH = {"text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1], "prediction": [0, 1, 0, 0]}


@pytest.fixture
def grids(tmp_path):
    """mine has seeds 1 and 2 of tiny, yours seeds 2 (another result) and 3; both have seed 1 of kobert, the same."""
    mine, yours = tmp_path / "mine", tmp_path / "yours"
    for folder, seed, score in [(mine, 1, 90.0), (mine, 2, 91.0), (yours, 2, 80.0), (yours, 3, 95.0)]:
        finished(folder, "tiny", seed=seed, score=score)
    for folder in (mine, yours):
        finished(folder, "kobert", score=70.0)
    return mine, yours


def report(*flags):
    return run_script("run_benchmark.py", "report", "--published", "none", *map(str, flags))


def row(folder, model="tiny"):
    with open(folder / "benchmark" / "results.csv", newline="") as file:
        return next(line for line in csv.DictReader(file) if (line["model"], line["view"]) == (model, "selected"))


def test_each_seed_counts_once(grids):
    mine, yours = grids
    done = report("--ckpt_dir", mine, "--merge", yours)
    assert done.returncode == 0, done.stderr
    assert (row(mine)["seeds"], float(row(mine)["mean"])) == ("1 2 3", 92.0)
    assert (row(mine, "kobert")["n"], float(row(mine, "kobert")["mean"])) == ("1", 70.0)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("- duplicate")]
    assert str(yours / "benchmark" / "tiny" / "nsmc" / "seed-2") in line and str(mine) in line
    assert f"results from: {mine} (" in done.stdout
    assert not (yours / "benchmark" / "results.csv").exists()


def test_the_first_folder_has_priority(grids, tmp_path):
    """A new --ckpt_dir needs no runs of its own."""
    mine, yours = grids
    done = report("--ckpt_dir", tmp_path / "new", "--merge", yours, mine, yours)
    assert done.returncode == 0, done.stderr
    assert float(row(tmp_path / "new")["mean"]) == pytest.approx((90 + 80 + 95) / 3)


def test_nothing_to_merge(grids, tmp_path):
    done = report("--ckpt_dir", grids[0], "--merge", tmp_path / "none")
    assert done.returncode == 2 and str(tmp_path / "none" / "benchmark") in done.stderr
    assert folders_to_read(grids[0], []) == folders_to_read(grids[0], [grids[0]]) == [grids[0]]
    assert folders_to_read(tmp_path / "none", []) == [tmp_path / "none"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sha256": "b" * 64}, "train file: aaaaaaaaaaaa (tiny seed 1 2); bbbbbbbbbbbb (tiny seed 3)"),
        ({"torch": "2.14.0"}, "version of torch: 2.13.0 (tiny seed 1 2); 2.14.0 (tiny seed 3)"),
        ({"rest": ("--max_steps", "9")}, "max_steps: -1 (tiny seed 1 2); 9 (tiny seed 3)"),
    ],
)
def test_other_data_or_settings_of_a_merged_folder_are_told(tmp_path, changes, expected):
    for seed in (1, 2):
        finished(tmp_path / "mine", "tiny", seed=seed)
    finished(tmp_path / "yours", "tiny", seed=3, **changes)
    assert f"nsmc: {expected}" in report("--ckpt_dir", tmp_path / "mine", "--merge", tmp_path / "yours").stdout


def test_another_definition_of_a_task_is_told(tmp_path):
    """But not another title."""
    for seed, changes in enumerate([{}, {"title": "Another"}, {"skip_empty_text": False}], start=1):
        path = finished(tmp_path / str(seed), "tiny", seed=seed).folder / "settings.json"
        definition = TASKS["nsmc"].model_dump(mode="json", exclude_defaults=True) | {"skip_empty_text": True} | changes
        path.write_text(json.dumps(json.loads(path.read_text()) | {"definition": definition}))
    done = report("--ckpt_dir", tmp_path / "1", "--merge", tmp_path / "2", tmp_path / "3")
    (line,) = [line for line in done.stdout.splitlines() if "definition of the task" in line]
    assert "(tiny seed 1 2)" in line and "(tiny seed 3)" in line


def test_what_is_missing_is_known_with_its_folder(grids):
    mine, yours = grids
    (yours / "benchmark" / "stray").write_text("")
    others = read_grids([mine, yours], TASKS)[1]
    assert {(run.kind, run.place) for run in others} == {("duplicate", "tiny/nsmc/seed-2"), ("ignored", "stray")}
    assert all(str(yours) in run.reason for run in others)


def test_models_of_two_folders_are_compared(tmp_path):
    predictions(finished(tmp_path / "mine", "tiny", score=75.0), BY_BOTH)
    predictions(finished(tmp_path / "yours", "kobert", score=75.0), BY_BOTH)
    flags = ["--ckpt_dir", str(tmp_path / "mine"), "--merge", str(tmp_path / "yours")]
    done = run_script("run_benchmark.py", "compare", "tiny", "kobert", *flags)
    assert done.returncode == 0, done.stderr
    assert "| nsmc | acc | 75.00 | 75.00 | +0.00 |" in done.stdout
