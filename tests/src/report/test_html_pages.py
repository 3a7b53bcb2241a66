"""The HTML pages that `report` and a run write: when, where, and what is said if they cannot be written."""

import json
import logging
import sys

import numpy as np
import pytest

from processor.definition import TASKS
from src.common.errors import CheckpointError
from src.metrics.analysis import of_answers, of_classes, of_entities
from src.report.html import write_run_page
from src.report.report import Request, write_report
from tests.conftest import ROOT
from tests.src.report.helpers import PUBLISHED, analysed, finished

PACKAGES = ("altair", "jinja2", "vl_convert")
OWN = ("figures", "charts")  # the modules that import them


@pytest.fixture
def without_packages(monkeypatch):
    """As if the packages of requirements-report.txt were not installed."""
    for name in OWN:
        monkeypatch.delitem(sys.modules, f"src.report.{name}", raising=False)
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def run(tmp_path):
    """The cell of a finished run with predictions."""
    pytest.importorskip("altair", reason="needs the packages of requirements-report.txt")
    cell = finished(tmp_path, score=90.0)
    probabilities, texts = np.array([[0.2, 0.8], [0.3, 0.7]]), [["재미있다"], ["재미없다"]]
    analysed(cell, of_classes(np.array([1, 0]), np.array([1, 1]), probabilities, ["0", "1"], texts.__getitem__))
    return cell


def write(cell, with_texts=False):
    write_run_page(cell.folder, TASKS["nsmc"], with_texts)
    return (cell.folder / "report.html").read_text(encoding="utf-8")


def test_a_run_writes_its_page(run):
    page = write(run)
    assert "재미없다" in page and "재미있다" not in page  # only the error is shown
    assert ">90.00<" in page


@pytest.mark.parametrize("allowed", [False, True])
def test_texts_of_a_run(run, allowed):
    task = TASKS["nsmc"].model_copy(update={"texts_may_be_shown": allowed})
    for with_texts in (False, True):
        write_run_page(run.folder, task, with_texts)
        page = (run.folder / "report.html").read_text(encoding="utf-8")
        assert ("재미없다" in page) == (allowed or with_texts)
        assert ("--html_report with_texts" in page) != (allowed or with_texts)


def test_a_page_says_at_which_step_training_stopped_early(run):
    assert "stopped early" not in write(run)
    path = run.folder / "cost.json"
    stop = {"step": 30, "planned_steps": 90, "best_step": 10, "reason": "acc was not better"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stopped_early": stop}))
    assert "stopped early at step 30 of 90" in write(run)


def test_cautions_and_an_unreadable_analysis_are_shown(run):
    results = run.folder / "eval_results.json"
    results.write_text(
        json.dumps(json.loads(results.read_text()) | {"cautions": {"20": {"test": ["it rests on 2 examples only"]}}})
    )
    path = run.folder / "test" / "analysis-20.json"
    path.write_text(path.read_text()[:-1])
    page = write(run)
    assert "seed 1, selected, test: it rests on 2 examples only" in page
    assert f"{path}: 1 validation error for Analysis Invalid JSON" in page and "재미없다" not in page
    path.unlink()
    assert f"{path}: No such file or directory" in write(run)


def test_the_upper_bound_is_shown_beside_the_answers(tmp_path):
    pytest.importorskip("altair", reason="needs the packages of requirements-report.txt")
    cell = finished(tmp_path, task="korquad", score=80.0)
    results = cell.folder / "eval_results.json"
    content = json.loads(results.read_text())
    content["data"]["test"]["ceiling"] = {"exact_match": 67.5, "f1": 91.25}
    results.write_text(json.dumps(content))
    analysed(cell, of_answers(np.array([0.8]), np.array([False]), lambda row: ("a", "누가?", "홍길동", "길동")))
    write_run_page(cell.folder, TASKS["korquad"], False)
    page = (cell.folder / "report.html").read_text(encoding="utf-8")
    assert "EM 67.50, F1 91.25" in page
    assert page.index(">누가?<") < page.index(">홍길동<") < page.index(">길동<")


@pytest.mark.parametrize("change", [{"selected": None}, None])
def test_nothing_is_written_without_test_scores(run, caplog, change):
    """change: of eval_results.json; None removes it, as if the run were not finished."""
    path = run.folder / "eval_results.json"
    content = json.loads(path.read_text())
    path.unlink()
    if change:
        path.write_text(json.dumps(content | change))
    write_run_page(run.folder, TASKS["nsmc"], False)
    assert str(run.folder / "report.html") in caplog.text
    assert not (run.folder / "report.html").exists()


def test_damaged_results(run):
    path = run.folder / "cost.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"training_seconds": "long"}))
    with pytest.raises(CheckpointError, match=str(run.folder)):
        write_run_page(run.folder, TASKS["nsmc"], False)


def test_tables_are_written_without_the_packages(tmp_path, without_packages, caplog):
    cell = finished(tmp_path)
    with caplog.at_level(logging.INFO):
        write_report(Request(tmp_path), TASKS, PUBLISHED, ROOT / "config")
        write_run_page(cell.folder, TASKS["nsmc"], False)
    assert sorted(path.name for path in (tmp_path / "benchmark").glob("*.*")) == ["results.csv", "results.md"]
    lines = [record.getMessage() for record in caplog.records if "pip install -r requirements-report.txt" in record.getMessage()]
    assert [line.split(" ")[0] for line in lines] == [f"{tmp_path}/benchmark/results.html", f"{cell.folder}/report.html"]


def test_the_report_is_not_taken_for_a_model(run, tmp_path):
    write_report(Request(tmp_path), TASKS, PUBLISHED, ROOT / "config")
    text = write_report(Request(tmp_path), TASKS, PUBLISHED, ROOT / "config")
    assert (tmp_path / "benchmark" / "results.html").is_file() and "results.html" not in text


def test_with_texts(tmp_path):
    """Naver NER may not be passed on."""
    pytest.importorskip("altair", reason="needs the packages of requirements-report.txt")
    cell = finished(tmp_path, task="naver-ner")
    analysed(cell, of_entities([["PER-B"]], [["O"]], [["홍길동이"]]))
    for with_texts in (False, True):
        write_report(Request(tmp_path, with_texts=with_texts), TASKS, PUBLISHED, ROOT / "config")
        assert ("홍길동이" in (tmp_path / "benchmark" / "results.html").read_text(encoding="utf-8")) == with_texts


@pytest.mark.long
def test_a_finished_run_is_asked_again_for_its_report(tiny, tmp_path):
    pytest.importorskip("altair", reason="needs the packages of requirements-report.txt")
    folder = tmp_path / "ckpt" / "tiny-nsmc-ckpt"
    assert tiny("--max_steps", "2").returncode == 0
    assert not (folder / "report.html").exists()
    done = tiny("--max_steps", "2", "--html_report")
    assert done.returncode == 0, done.stderr
    assert f"written: {folder}/report.html" in done.stderr and "training: " not in done.stderr
    assert "<title>NSMC: tiny</title>" in (folder / "report.html").read_text(encoding="utf-8")
