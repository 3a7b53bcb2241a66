"""The study of a search: its trials do not depend on when it was killed, and its journal can always be continued."""

import os

import pytest

pytest.importorskip("optuna", reason="needs the package of requirements-tune.txt")

from src.common.errors import CheckpointError, ConfigError
from src.grid.tune.study import Study
from src.runs.journal import read_importance, read_trials

SPACE = {
    "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
    "train_batch_size": {"low": 8, "high": 32, "step": 8},
    "num_train_epochs": {"low": 3, "high": 4},
    "class_weights": ["none", "balanced"],
}
CONDITIONS = {"space": SPACE, "settings": {"max_seq_len": 128}, "data": {"train": "1"}}


@pytest.fixture
def study(tmp_path):
    """study() opens the study in tmp_path as a new process would."""
    opened = []

    def make(space=SPACE, seed=1, conditions=CONDITIONS, folder=tmp_path):
        if opened:
            opened.pop().close()
        opened.append(Study(folder, space, seed, conditions, {}))
        return opened[-1]

    yield make
    opened.pop().close()


def values(study):
    return [trial.params for trial in study.trials]


def run_trial(study, score=None):
    """Run a trial; its score is better for a lower learning rate."""
    trial = study.ask()
    study.finish(trial.number, 1 - trial.params["learning_rate"] if score is None else score)


def test_values_are_of_the_types_of_their_settings(study):
    for _ in range(8):
        run_trial(study())
    for params in values(study()):
        assert 1e-5 <= params["learning_rate"] <= 1e-3 and params["class_weights"] in ("none", "balanced")
        assert params["train_batch_size"] in (8, 16, 24, 32) and isinstance(params["train_batch_size"], int)
        assert 3 <= params["num_train_epochs"] <= 4 and isinstance(params["num_train_epochs"], float)


def test_the_first_trial_has_the_usual_values_that_the_space_contains(tmp_path):
    usual = {"learning_rate": 5e-5, "train_batch_size": 12, "num_train_epochs": 10, "class_weights": "none"}
    study = Study(tmp_path, SPACE, 1, CONDITIONS, usual)
    first, second = study.ask().params, study.ask().params
    assert (first["learning_rate"], first["class_weights"]) == (5e-5, "none")
    assert first["train_batch_size"] in (8, 16, 24, 32) and 3 <= first["num_train_epochs"] <= 4  # 12 is between two steps
    assert second["learning_rate"] != 5e-5
    study.close()


def test_values_of_a_range_with_steps_are_written_in_decimals(tmp_path):
    """In binary, 0.7 + 3 * 0.1 is 0.9999999999999999."""
    space = {"layer_decay": {"low": 0.7, "high": 1.0, "step": 0.1}}
    study = Study(tmp_path, space, 1, CONDITIONS, {"layer_decay": 1.0})
    for _ in range(20):
        run_trial(study, 0.5)
    assert values(study)[0] == {"layer_decay": 1.0}
    assert {params["layer_decay"] for params in values(study)} == {0.7, 0.8, 0.9, 1.0}
    study.close()


def test_trials_do_not_depend_on_the_processes_that_asked(study, tmp_path):
    whole = study(folder=tmp_path / "whole")
    for _ in range(9):
        run_trial(whole)
    expected = values(whole)
    for _ in range(9):
        run_trial(study())
    assert values(study()) == expected
    assert len({params["learning_rate"] for params in expected}) == 9
    other = study(seed=2, folder=tmp_path / "other")
    run_trial(other)
    assert values(other) != expected[:1]


def test_a_torn_last_line_and_a_stale_lock_are_removed(study, tmp_path):
    run_trial(study())
    before = values(study())
    with open(tmp_path / "study.log", "a") as journal:
        journal.write('{"op_code":4,"work')
    (tmp_path / "study.log.lock").symlink_to("study.log")
    run_trial(study())
    assert values(study())[:1] == before and len(study().trials) == 2


def test_a_trial_that_was_running_is_still_known(study):
    trial = study().ask()
    study().report(trial.number, {10: 0.5, 20: 0.6})
    (again,) = study().unfinished
    assert (again.number, again.params, again.intermediate_values) == (0, trial.params, {10: 0.5, 20: 0.6})
    assert study().report(0, {10: 0.5, 20: 0.6, 30: 0.7}) is False
    study().fail(0, "memory is full")
    assert study().counts == {"finished": 0, "pruned": 0, "failed": 1} and study().best is None


def test_bad_trials_are_pruned(study):
    """After five trials with 0.5 at 30 %, one below the median is pruned, from then on and whoever asks."""
    for _ in range(5):
        trial = study().ask()
        assert study().report(trial.number, {10: 0.1, 30: 0.5, 40: 0.6}) is False
        study().finish(trial.number, 0.6)
    trial = study().ask()
    assert study().report(trial.number, {10: 0.05, 20: 0.05}) is False
    assert study().report(trial.number, {10: 0.05, 20: 0.05, 30: 0.4, 40: 0.9}) is True
    assert study().trials[5].intermediate_values == {10: 0.05, 20: 0.05, 30: 0.4}  # 40 % came too late
    assert study().report(trial.number, {10: 0.05, 20: 0.05, 30: 0.4, 40: 0.9}) is True
    study().prune(trial.number)
    assert study().counts == {"finished": 5, "pruned": 1, "failed": 0} and study().best.number == 0
    good = study().ask()
    assert study().report(good.number, {10: 0.05, 30: 0.5}) is False


def test_the_best_is_the_earliest_of_equal_trials(study):
    for score in (0.1, 0.3, 0.3, 0.2):
        run_trial(study(), score)
    assert study().best.number == 1


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"settings": {"max_seq_len": 64}}, "settings: max_seq_len 128, now 64"),
        ({"data": {"train": "2"}}, "data: train '1', now '2'"),
        ({"space": {**SPACE, "weight_decay": [0.0, 0.1]}}, "space: weight_decay None, now "),
    ],
)
def test_a_study_under_other_conditions_is_refused(study, tmp_path, conditions, expected):
    study()  # without a trial nothing is lost
    run_trial(study(conditions=CONDITIONS | {"settings": {"max_seq_len": 128}}))
    with pytest.raises(ConfigError) as caught:
        study(conditions=CONDITIONS | conditions)
    assert expected in str(caught.value) and str(tmp_path) in str(caught.value)
    assert len(Study(tmp_path / "another", SPACE, 1, CONDITIONS, {}).trials) == 0
    study()


def test_one_process_at_a_time(study, tmp_path):
    study()
    with pytest.raises(CheckpointError, match=rf"process {os.getpid()} is using .*/{tmp_path.name}"):
        Study(tmp_path, SPACE, 1, CONDITIONS, {})


def test_importance_of_the_settings(study, tmp_path):
    for _ in range(3):
        run_trial(study())
    assert read_importance(tmp_path) == {}
    for _ in range(7):
        run_trial(study())
    shares = read_importance(tmp_path)
    assert next(iter(shares)) == "learning_rate" and sum(shares.values()) == pytest.approx(1)
    assert len(read_trials(tmp_path)) == 10 and read_trials(tmp_path / "none") == []
