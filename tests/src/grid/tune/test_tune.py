"""The search itself, with trials that are no training: see tests.src.grid.tune.fake_trials."""

import json
import os
import signal
from collections import deque

import pytest

pytest.importorskip("optuna", reason="needs the package of requirements-tune.txt")

from src.common.errors import EnvironmentFailure, Interrupted
from src.common.files import hold
from src.grid import pool as pool_module
from src.grid.devices import parse_devices
from src.grid.pool import Pool, lock_file
from src.grid.tune.tune import Tuner
from tests.src.grid.tune.fake_trials import open_search


@pytest.fixture(autouse=True)
def poll_often(monkeypatch):
    monkeypatch.setattr(pool_module, "POLL", 0.01)


def run(searches, devices="cpu", at_poll=lambda pool: None):
    """Run the trials of searches, calling at_poll(pool) at every poll; close their studies."""
    tuner, pool = Tuner(searches), Pool(deque(), parse_devices(devices))
    update = tuner._update
    tuner._update = lambda pool, outcomes: (update(pool, outcomes), at_poll(pool))
    try:
        tuner.run(pool)
    finally:
        for search in searches:
            search.study.close()
    return searches


def summary(search):
    """Everything about the trials but the times."""
    return [
        (trial.number, trial.state.name, trial.params, trial.value, trial.intermediate_values) for trial in search.study.trials
    ]


def folders(search):
    return [search.cell(trial).folder for trial in search.study.trials]


def checkpoints(search):
    return [len(list(folder.glob("checkpoint-*"))) for folder in folders(search)]


def starts(search):
    """The step that each process of a trial started from, by trial."""
    return [(folder / "starts").read_text().split() for folder in folders(search)]


def test_the_planted_rate_is_found_and_bad_trials_are_pruned(tmp_path, monkeypatch):
    """A rate of 1e-3 is best. The processes are slow enough to be pruned while they run."""
    monkeypatch.setenv("FAKE_STEP", "0.03")
    (search,) = run([open_search(tmp_path, trials=12)])
    best, counts = search.study.best, search.study.counts
    assert 1e-4 < best.params["learning_rate"] < 1e-2 and best.value > 0.8
    assert counts["pruned"] > 0 and counts["failed"] == 0 and sum(counts.values()) == 12
    states = [trial.state.name for trial in search.study.trials]
    assert states[:5] == ["COMPLETE"] * 5  # before, there is nothing to compare with
    ended_early = [not (folder / "eval_results.json").exists() for folder in folders(search)]
    assert any(ended_early) and all(state == "PRUNED" for state, early in zip(states, ended_early, strict=True) if early)
    assert all(trial.value < best.value for trial in search.study.trials if trial.state.name == "PRUNED")
    assert [bool(count) for count in checkpoints(search)] == [number == best.number for number in range(12)]
    assert not any((folder / "resume").exists() for folder in folders(search))

    path = search.write_result({})
    content = json.loads(path.read_text())
    assert path == tmp_path / "config" / "tuning" / "tiny.question-pair.json"
    assert content.keys() == {"learning_rate", "search"} and content["learning_rate"] == best.params["learning_rate"]
    about = content["search"]
    assert (about["trials"], about["best"], about["headline"]) == (counts, best.number, "acc")
    assert (about["dev"], about["seed"], about["data"].keys()) == (best.value, 1, {"train", "dev"})


def test_whether_a_trial_is_pruned_does_not_depend_on_its_speed(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_STEP", "0.02")
    (slow,) = run([open_search(tmp_path, trials=8)])
    monkeypatch.setenv("FAKE_STEP", "0")
    (tmp_path / "fast").mkdir()
    (fast,) = run([open_search(tmp_path / "fast", trials=8)])
    assert summary(fast) == summary(slow) and fast.study.counts["pruned"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_an_interrupted_search_gives_the_same_trials(tmp_path, monkeypatch, number):
    monkeypatch.setenv("FAKE_STEP", "0.02")
    (tmp_path / "whole").mkdir()
    (whole,) = run([open_search(tmp_path / "whole", trials=4)])

    def interrupt(pool):
        running = pool.running and (pool.running[0].cell.folder / "checkpoint-3").exists()
        if running and pool.running[0].cell.name.endswith("trial-2"):
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted):
        run([open_search(tmp_path, trials=4)], at_poll=interrupt)
    interrupted = open_search(tmp_path, trials=4)
    assert [trial.number for trial in interrupted.study.unfinished] == [2]
    assert interrupted.write_result({}) is None
    run([interrupted])
    assert summary(interrupted) == summary(whole)
    assert len(starts(interrupted)[2]) == 2 and int(starts(interrupted)[2][1]) >= 3  # it resumed
    assert all(len(steps) == 1 for number, steps in enumerate(starts(interrupted)) if number != 2)


def test_more_trials_continue_a_search(tmp_path):
    run([open_search(tmp_path, trials=2)])
    (search,) = run([open_search(tmp_path, trials=4)])
    assert [trial.number for trial in search.study.trials] == list(range(4))
    assert all(len(steps) == 1 for steps in starts(search))
    (tmp_path / "whole").mkdir()
    (whole,) = run([open_search(tmp_path / "whole", trials=4)])
    assert summary(whole) == summary(search)


def test_a_trial_whose_process_outlived_the_search_is_waited_for(tmp_path):
    search = open_search(tmp_path, trials=1)
    cell = search.cell(search.study.ask())
    search.study.close()
    cell.folder.mkdir(parents=True)
    lock = hold(lock_file(cell), cell.name)  # as its process would
    polls = []

    def release(pool):
        polls.append(len(pool.running))
        if len(polls) == 5:
            os.close(lock)

    (again,) = run([open_search(tmp_path, trials=1)], at_poll=release)
    assert polls[:5] == [0] * 5 and again.study.counts["finished"] == 1 and len(starts(again)) == 1


def test_failed_trials(tmp_path, caplog):
    """A rate above 0.5 fails. The search goes on, unless all trials fail."""
    space = {"learning_rate": [0.001, 0.9], "weight_decay": {"low": 0.0, "high": 0.1}}
    (search,) = run([open_search(tmp_path, space=space, trials=7)])
    counts = search.study.counts
    assert counts["failed"] > 0 and counts["finished"] > 0
    assert {trial.user_attrs["reason"] for trial in search.study.trials if trial.state.name == "FAIL"} == {
        "the loss is not finite"
    }
    assert search.study.best.params["learning_rate"] == 0.001
    (tmp_path / "all").mkdir()
    failing = open_search(tmp_path / "all", space={"learning_rate": [0.8, 0.9]})
    with pytest.raises(EnvironmentFailure, match=r"trial-2: all 3 trials so far failed: the loss is not finite"):
        run([failing])
    assert failing.study.counts == {"finished": 0, "pruned": 0, "failed": 3} and failing.write_result({}) is None


def test_a_trial_without_a_score_has_failed(tmp_path):
    search = open_search(tmp_path, trials=1)
    script = tmp_path / "fake.py"
    script.write_text(script.read_text().replace('"dev": scores["10"]["dev"]', '"dev": None'))
    run([search])
    (trial,) = search.study.trials
    assert trial.state.name == "FAIL" and "eval_results.json has no acc" in trial.user_attrs["reason"]


def test_several_searches_share_the_devices(tmp_path):
    """A device that the first search has no more trials for takes one of the second."""
    searches = [open_search(tmp_path, trials=trials, task=task) for trials, task in ((1, "question-pair"), (3, "paws"))]
    tuner, pool = Tuner(searches), Pool(deque(), parse_devices("cpu,cpu"))
    tuner._fill(pool)
    assert [cell.task for cell in pool.waiting] == ["question-pair", "paws"]
    tuner.run(pool)
    assert [search.study.counts["finished"] for search in searches] == [1, 3]
    assert all(search.write_result({}).is_file() for search in searches)
    for search in searches:
        search.study.close()


def test_the_result_has_the_fixed_settings_of_the_training(tmp_path):
    search = open_search(tmp_path, trials=1, rest=["--weight_decay", "0.05", "--feature_cache_dir", "x"])
    run([search])
    content = json.loads(search.write_result({"weight_decay": "0.05", "feature_cache_dir": "x", "ckpt_dir": "y"}).read_text())
    assert content.keys() == {"learning_rate", "weight_decay", "search"} and content["weight_decay"] == 0.05
