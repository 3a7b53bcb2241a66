"""Killed at any moment and started again, a run ends as one that was left in peace. tests/kills.py does it."""

import json

import pytest

SHORT = ["--max_steps", "12", "--save_steps", "4", "--logging_steps", "3", "--log_every", "5"]
CASES = {
    "run_seq_cls.py": ["--task", "nsmc", "--gradient_accumulation_steps", "2"],
    "run_ner.py": ["--dev_ratio", "0.2", "--batching", "bucketed"],
    "run_squad.py": ["--save_optimizer", "--save_total_limit", "-1"],
}


def kills(command, tmp_path, script, number, how="fork"):
    arguments = [*CASES[script], *SHORT, "--config_file", "tiny.json", "--data_dir", "data/sample"]
    places = ["--feature_cache_dir", str(tmp_path / "cache")]
    (tmp_path / "work").mkdir()
    done = command("tests/kills.py", how, str(tmp_path / "work"), "0", str(number), script, *arguments, *places, timeout=3000)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["different"] == {}
    assert sum(found["kills"].values()) >= number
    return found


@pytest.mark.parametrize(
    ("script", "number"),
    [("run_seq_cls.py", 20), *(pytest.param(script, 70, marks=pytest.mark.long) for script in ("run_ner.py", "run_squad.py"))],
)
def test_wherever_a_run_is_killed(command, tmp_path, script, number):
    found = kills(command, tmp_path, script, number)
    assert all(found["kills"].values())  # in the middle of saving, of evaluating, and at any time


@pytest.mark.long
@pytest.mark.parametrize("script", CASES)
def test_whenever_a_command_is_killed(command, tmp_path, script):
    """200 kills of the real command lines, with their imports, in all."""
    kills(command, tmp_path, script, 67, how="command")
