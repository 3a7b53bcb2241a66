import csv

import pytest

from processor.definition import TASKS
from src.report.report import Request, make_table, write_report
from tests.conftest import ROOT
from tests.src.report.helpers import PUBLISHED, finished, predictions

CONFIG = ROOT / "config"


def right_on(tmp_path, model, first, last, seed=1, task="nsmc", **more):
    """Write a run that is right on the rows from `first` to before `last`, of 100."""
    cell = finished(tmp_path, model=model, task=task, seed=seed, score=float(last - first), **more)
    guesses = [int(first <= row < last) for row in range(100)]
    predictions(cell, {"index": range(100), "document": ["a"] * 100, "label": [1] * 100, "prediction": guesses})
    return cell


def smallest(tmp_path):
    return make_table(Request(tmp_path), TASKS, PUBLISHED, CONFIG).smallest


def test_two_best_models_of_a_task(tmp_path):
    """They disagree on 10 of 100 rows, where the first one is right: 2.80 * sqrt((0.1 - 0.1^2) / 100)."""
    right_on(tmp_path, "koelectra-base-v3", 0, 85), right_on(tmp_path, "kcbert-base", 5, 80), right_on(tmp_path, "tiny", 0, 30)
    (found,) = smallest(tmp_path)
    assert (found.task, found.score, found.runs, found.rows) == ("nsmc", "acc", (1, 1), 100)
    assert found.models == ("KoELECTRA-Base-v3", "KcBERT-Base")
    assert found.difference == pytest.approx(100 * 2.80 * ((0.1 - 0.1**2) / 100) ** 0.5, rel=0.08)
    assert "of rows only" in found.about


def test_seeds_count(tmp_path):
    """Runs of 80, 85 and 90 and of 60, 65 and 70: s = 5, k = 3; the error is that of the seeds at least."""
    for seed in (1, 2, 3):
        right_on(tmp_path, "kcbert-base", 0, 75 + 5 * seed, seed), right_on(tmp_path, "tiny", 0, 55 + 5 * seed, seed)
    (found,) = smallest(tmp_path)
    assert found.runs == (3, 3) and "of rows only" not in found.about
    assert found.difference > 2.80 * (2 * 25 / 3) ** 0.5


def test_files_have_it(tmp_path):
    right_on(tmp_path, "kcbert-base", 0, 80), right_on(tmp_path, "tiny", 5, 70)
    text = write_report(Request(tmp_path), TASKS, PUBLISHED, CONFIG)
    (found,) = smallest(tmp_path)
    line = f"NSMC acc: {found.difference:.2f} ("
    assert text.count(line) == 1
    folder = tmp_path / "benchmark"
    assert line in (folder / "results.html").read_text()
    with open(folder / "results.csv", newline="") as stream:
        values = {
            (row["model"], row["view"]): row["smallest_difference"] for row in csv.DictReader(stream) if row["n"] and row["seeds"]
        }
    assert values["tiny", "selected"] == values["kcbert-base", "selected"] == f"{found.difference:.10g}"
    assert values["tiny", "best_on_test"] == ""


def test_none_without_two_models_that_can_be_compared(tmp_path):
    right_on(tmp_path, "kcbert-base", 0, 70)
    assert not smallest(tmp_path)
    cell = right_on(tmp_path, "tiny", 0, 75)
    assert len(smallest(tmp_path)) == 1
    path = cell.folder / "test" / "predictions-20.tsv"
    path.write_text(path.read_text().replace("\ta\t", "\tother text\t"))
    assert not smallest(tmp_path)
    path.unlink()
    assert not smallest(tmp_path)
    assert "Smallest differences" not in write_report(Request(tmp_path), TASKS, PUBLISHED, CONFIG)


def test_a_model_with_the_same_predictions_has_none(tmp_path):
    right_on(tmp_path, "kcbert-base", 0, 80), right_on(tmp_path, "tiny", 0, 80)
    assert not smallest(tmp_path)


def test_flagged_runs_do_not_count(tmp_path):
    """A run of fewer updates is flagged; only the others are compared."""
    right_on(tmp_path, "kcbert-base", 0, 80), right_on(tmp_path, "kobert", 0, 60)
    right_on(tmp_path, "tiny", 0, 90, rest=("--max_steps", "9"))
    (found,) = smallest(tmp_path)
    assert "tiny" not in found.models
