"""The data of the charts, and the same numbers as text."""

import json

import pytest

pytest.importorskip("altair", reason="needs the packages of requirements-report.txt")

from processor.definition import TASKS
from src.report import figures
from src.report.charts import CHARTS, Figure, specifications, thin
from src.report.published import PublishedScore
from src.report.table import Value
from tests.src.report.helpers import finished, records_in

TASK = TASKS["nsmc"]


def test_thin():
    assert thin([1, 2, 3], 3) == [1, 2, 3]
    assert thin(list(range(11)), 3) == [0, 5, 10]


def test_data_is_compact():
    figure = Figure("loss", "", "", ("seed", "step", "loss"), [(1, 50, 0.123456789), (2, 50, 1.0)])
    assert figure.data == {"height": 240, "columns": ("seed", "step", "loss"), "rows": [[1, 50, 0.12346], [2, 50, 1.0]]}


def test_every_chart_has_the_width_of_its_place_and_no_data():
    found = specifications()
    assert found.keys() == CHARTS.keys()
    assert {chart["width"] for chart in found.values()} == {"container"}
    assert '"name": "empty"' not in json.dumps(found)


def test_dots(tmp_path):
    """90 and 92: mean 91, standard deviation 1.41."""
    for seed, score in ((1, 90.0), (2, 92.0)):
        finished(tmp_path, seed=seed, score=score)
    value = Value(91.0, 1.5, 2, PublishedScore("90.63", None), True)
    figure = figures.dots({"A": records_in(tmp_path)}, {"A": value}, "selected", TASK, "acc")
    assert figure.rows == [
        ("A", "seed", 1, 90.0, "", ""),
        ("A", "seed", 2, 92.0, "", ""),
        ("A", "mean", "", 91.0, 89.5, 92.5),
        ("A", "published", "", 90.63, "", ""),
    ]
    assert figure.description == "A: mean 91.00 ± 1.50 (n=2), published 90.63"


def test_cost(tmp_path):
    """60 s and 180 s of training: 2 minutes on average. Two devices: times are not comparable."""
    finished(tmp_path, seed=1, score=90.0)
    finished(tmp_path, seed=2, score=92.0, seconds=180.0)
    records = records_in(tmp_path)
    figure = figures.cost({"A": records}, "selected", TASK)
    assert figure.rows == [("A", 1, 1.0, 90.0), ("A", 2, 3.0, 92.0)]
    assert figure.description == "Means: A: 2 minutes, 91.00" and "devices" not in figure.caption
    finished(tmp_path, seed=3, device="another")
    assert "a GPU and another" in figures.cost({"A": records_in(tmp_path)}, "selected", TASK).caption


def test_curves(tmp_path):
    """A line without a loss, and one that is torn, are left out. The scores are those of steps 10 and 20."""
    folder = finished(tmp_path, score=90.0, best=95.0).folder
    lines = ['{"step": 5, "loss": 0.7}', '{"step": 10, "loss": null}', '{"step": 15, "loss": 0.25}', '{"step": 20, "lo']
    (folder / "log.jsonl").write_text("\n".join(lines))
    loss, scores = figures.curves(records_in(tmp_path), TASK)
    assert loss.rows == [(1, 5, 0.7), (1, 15, 0.25)]
    assert loss.description == "seed 1: 0.7 at step 5, 0.25 at step 15"
    assert scores.rows == [(1, "test", 10, 95.0), (1, "test", 20, 90.0)]


def test_runs_without_a_log_have_no_curve_of_the_loss(tmp_path):
    finished(tmp_path)
    assert [figure.chart for figure in figures.curves(records_in(tmp_path), TASK)] == ["scores"]
