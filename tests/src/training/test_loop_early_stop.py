"""A training that ends when its dev scores stop rising: at which step, what it leaves, and that it stays ended."""

import json

import pytest

from processor.definition import TASKS
from src.runs.files import COST
from src.runs.status import find_run
from src.training import loop as train_module
from tests.src.helpers import DEV_AND_TEST, RandomSplit, log_of, small_model, train_small

STOPS = {"dev_file": "ratings_test.txt", "max_steps": 20, "overwrite_output_dir": False}


@pytest.fixture
def dev_scores(monkeypatch):
    """dev_scores(0.5, 0.7) makes these the accuracies of the scorings on dev, and 0 those on test."""

    def plan(*values):
        scores = iter(values)
        monkeypatch.setattr(RandomSplit, "score", lambda self, _: {"acc": next(scores) if self.name == "dev" else 0.0})

    return plan


def stop_of(run):
    return json.loads((run.folder / COST).read_text()).get("stopped_early")


@pytest.mark.parametrize(
    ("patience", "values", "last", "best"),
    [
        (1, [0.5, 0.4], 4, 2),
        (2, [0.5, 0.4, 0.6, 0.5, 0.6], 10, 6),  # in a row, and the same score is not better
        (3, [0.9, 0.1, 0.2, 0.3], 8, 2),
        (2, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.7, 0.6], 20, None),  # would stop at the last step anyway
        (0, [0.9, *[0.1] * 9], 20, None),
    ],
)
def test_stops_after_so_many_scorings_without_a_better_one(settings, dev_scores, caplog, patience, values, last, best):
    """Every second step is scored, every fifth one is saved if it were not the last."""
    dev_scores(*values)
    with caplog.at_level("INFO"):
        run, _ = train_small(settings, **STOPS, logging_steps=2, save_steps=20, log_every=3, early_stopping_patience=patience)
    assert run.checkpoints() == [last]
    assert run.history.has(last, "test")
    assert [line["step"] for line in log_of(run)] == [*range(3, last, 3), last]
    if best is None:
        assert stop_of(run) is None
        return
    stop = stop_of(run)
    assert (stop["step"], stop["planned_steps"], stop["best_step"]) == (last, 20, best)
    assert f"at step {last} of 20: acc on dev has not improved since step {best}; scorings since then: {patience}" in caplog.text


def test_the_selected_checkpoint_is_the_best_one_that_was_saved(settings, dev_scores):
    dev_scores(0.5, 0.7, 0.9, 0.6, 0.8)  # at 2, 4, 5 (saved), 6 and 8
    run, _ = train_small(settings, **STOPS, logging_steps=2, save_steps=5, early_stopping_patience=2)
    assert run.checkpoints() == [5, 8]
    assert json.loads((run.folder / "eval_results.json").read_text())["selected"]["step"] == 5


def test_a_step_that_is_saved_and_scored_counts_once(settings, dev_scores):
    dev_scores(0.5, 0.4, 0.3)
    run, _ = train_small(settings, **STOPS, logging_steps=2, save_steps=2, early_stopping_patience=2)
    assert max(run.checkpoints()) == 6


def test_a_run_that_stopped_early_is_finished(settings, dev_scores):
    dev_scores(0.5, 0.4)
    run, _ = train_small(settings, **STOPS, logging_steps=2, early_stopping_patience=1)
    again = find_run(run.settings, TASKS["nsmc"], DEV_AND_TEST)
    assert again.complete
    longer = find_run(run.settings.model_copy(update={"early_stopping_patience": 2}), TASKS["nsmc"], DEV_AND_TEST)
    assert (longer.state, "early_stopping_patience 1, now 2" in longer.reason) == ("replace", True)


@pytest.mark.parametrize("place", ["finish_training", "finish"])
def test_a_run_killed_after_its_last_update_is_not_trained_on(settings, dev_scores, monkeypatch, place):
    """Before cost.json, after the last line of the log, or before the results: the line is there once, the weights stay."""
    changes = {**STOPS, "logging_steps": 2, "log_every": 3, "save_steps": 4, "early_stopping_patience": 1}
    dev_scores(0.5, 0.4)
    with monkeypatch.context() as patch:
        patch.setattr(f"src.runs.folder.RunFolder.{place}", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_small(settings, **changes)
    monkeypatch.setattr(train_module.TrainState, "advance", lambda state: 1 / 0)
    run, _ = train_small(settings, small_model(seed=1), **changes)
    assert [line["step"] for line in log_of(run)] == [3, 4]
    assert (run.checkpoints(), stop_of(run)["step"]) == ([4], 4)
