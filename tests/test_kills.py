"""Runs that are killed at any moment and started again end like an undisturbed run, see tests/kills.py."""

import json

import pytest

from tests.commands import run_forked

SHORT = ["--max_steps", "12", "--save_steps", "4", "--logging_steps", "3", "--log_every", "5"]
CASES = {
    "run_seq_cls.py": ["--task", "nsmc", "--gradient_accumulation_steps", "2"],
    "run_ner.py": ["--dev_ratio", "0.2", "--batching", "bucketed"],
    "run_squad.py": ["--save_optimizer", "--save_total_limit", "-1"],
}
# Ends at step 6, between two checkpoints: no score on dev, at 3, 4 and 6, is better than the first one.
EARLY_STOP = ["--dev_ratio", "0.2", "--early_stopping_patience", "2", "--learning_rate", "1e-9"]


def kill_runs(tmp_path, script, number, how="fork", flags=()):
    """Kill runs of a script `number` times; return how many kills there were of each kind."""
    arguments = [*CASES[script], *SHORT, *flags, "--config_file", "tiny.json", "--data_dir", "data/sample"]
    places = ["--feature_cache_dir", str(tmp_path / "cache")]
    (tmp_path / "work").mkdir()
    done = run_forked("tests/kills.py", how, str(tmp_path / "work"), "0", str(number), script, *arguments, *places, timeout=None)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["different"] == {}
    assert sum(report["kills"].values()) >= number
    return report["kills"]


@pytest.mark.parametrize(
    ("script", "number"), [("run_seq_cls.py", 3), *(pytest.param(script, 40, marks=pytest.mark.long) for script in CASES)]
)
def test_runs_killed_at_any_moment_end_like_an_undisturbed_one(tmp_path, script, number):
    kills = kill_runs(tmp_path, script, number)
    assert all(kills.values())  # while saving, while evaluating, and at any time


@pytest.mark.long
@pytest.mark.parametrize("number", [3, 40])
def test_runs_that_stop_early_and_are_killed_stop_at_the_same_step(tmp_path, number):
    kills = kill_runs(tmp_path, "run_seq_cls.py", number, flags=EARLY_STOP)
    assert all(kills.values())
    cost = json.loads((tmp_path / "work" / "whole" / "cost.json").read_text())
    assert (cost["stopped_early"]["step"], cost["stopped_early"]["planned_steps"]) == (6, 12)


@pytest.mark.long
@pytest.mark.parametrize("script", CASES)
def test_commands_killed_at_any_moment_end_like_an_undisturbed_one(tmp_path, script):
    """24 kills of the real command lines, with their imports, in total."""
    kill_runs(tmp_path, script, 8, how="command")
