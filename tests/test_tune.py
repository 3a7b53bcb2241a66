"""The command lines of run_benchmark.py tune and run --tuned, as real processes on the sample."""

import json
import os
import shutil
import signal
import sys
import time

import pytest

pytest.importorskip("optuna", reason="needs the package of requirements-tune.txt")

from processor.definition import TASKS
from src.report.read_runs import read_grid
from src.runs.journal import read_trials
from tests.commands import Forked, fork_cells, run_forked
from tests.conftest import ROOT, SAMPLE

RATES = {"learning_rate": [1e-7, 1e-3], "weight_decay": {"low": 0.0, "high": 0.1}}  # the first one learns nothing


@pytest.fixture
def bench(tmp_path):
    """bench("tune", ...) runs the tiny model on tmp_path/data, with config files and results in tmp_path/config."""
    (tmp_path / "config").mkdir()
    for name in ("tiny.json", "tasks"):
        (tmp_path / "config" / name).symlink_to(ROOT / "config" / name)
    (tmp_path / "space.json").write_text(json.dumps(RATES))

    def run(action, *arguments, ckpt="ckpt", start=run_forked, **options):
        flags = ["--models", "tiny", "--ckpt_dir", str(tmp_path / ckpt), "--feature_cache_dir", str(tmp_path / "cache")]
        flags += ["--config_dir", str(tmp_path / "config"), "--data_dir", str(tmp_path / "data"), "--devices", "cpu"]
        flags += ["--space", str(tmp_path / "space.json")] if action == "tune" else []
        return start("run_benchmark.py", action, *flags, *arguments, **{"before": fork_cells} | options)

    return run


def copy_data(tmp_path, task, *names):
    (tmp_path / "data" / task).mkdir(parents=True)
    for name in names:
        shutil.copy(SAMPLE / task / name, tmp_path / "data" / task)


def test_a_search_without_a_test_file_and_runs_with_its_result(bench, tmp_path):
    copy_data(tmp_path, "question-pair", "train.tsv", "dev.tsv")
    flags = ("--tasks", "question-pair", "--max_steps", "4")
    planned = bench("tune", *flags, "--trials", "2", "--dry_run")
    assert planned.returncode == 0, planned.stderr
    assert all(line.startswith("# ") for line in planned.stdout.splitlines()) and "2 trials" in planned.stdout
    assert not (tmp_path / "ckpt").exists()

    missing = bench("run", *flags, "--tuned", "--seeds", "1")
    assert missing.returncode == 2 and "tune --models tiny.json --tasks question-pair" in missing.stderr

    done = bench("tune", *flags, "--trials", "2")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "config" / "tuning" / "tiny.question-pair.json"
    assert str(path) in done.stderr and "run --tuned --models tiny.json --tasks question-pair" in done.stderr
    content = json.loads(path.read_text())
    assert content["max_steps"] == 4 and content["learning_rate"] in RATES["learning_rate"]
    assert content["search"]["trials"] == {"finished": 2, "pruned": 0, "failed": 0}
    folder = tmp_path / "ckpt" / "benchmark" / "tiny" / "question-pair" / "tune"
    for number in range(2):
        record = json.loads((folder / f"trial-{number}" / "settings.json").read_text())
        assert record["data"].keys() == {"train", "dev"} and record["updates"] == 4
    assert len(list(folder.glob("trial-*/checkpoint-*"))) == 1
    assert read_grid(tmp_path / "ckpt", TASKS) == ([], [])

    again = bench("tune", *flags, "--trials", "2")  # nothing is left to do
    assert again.returncode == 0 and json.loads(path.read_text()) == content
    other = bench("tune", "--tasks", "question-pair", "--max_steps", "5", "--trials", "2")
    assert other.returncode == 2 and "max_steps 4, now 5" in other.stderr

    shutil.copy(SAMPLE / "question-pair" / "test.tsv", tmp_path / "data" / "question-pair")
    tuned = bench("run", "--tasks", "question-pair", "--tuned", "--seeds", "1")
    assert tuned.returncode == 0, tuned.stderr
    (record,), others = read_grid(tmp_path / "ckpt", TASKS)
    assert others == [] and (record.name, record.trials) == ("tiny@tuned/question-pair/seed-1", 2)
    assert record.settings["learning_rate"] == content["learning_rate"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tasks", "nsmc"], "--dev_ratio"),
        (["--tasks", "nsmc", "--seeds", "1"], "--seeds"),
        (["--tasks", "question-pair", "--test_file", "a"], "--test_file"),
        (["--tasks", "question-pair", "--learning_rate", "1e-4", "--weight_decay", "0"], "nothing to search"),
        (["--tasks", "question-pair", "--space", "none.json"], "--print_space"),
        (["--tasks", "question-pair", "--trials", "0"], "--trials"),
        (["--tasks", "question-pair", "--dev_ratio", "2"], "dev_ratio"),  # although it has a dev file
        (["--tasks", "question-pair", "--models", ""], "--models is empty"),
        (["--tasks", "question-pair", "--trial", "2"], "--trials"),
        (["--tasks", "question-pair"], "train.tsv"),
    ],
)
def test_mistakes(bench, tmp_path, arguments, expected):
    (tmp_path / "data").mkdir()
    done = bench("tune", *arguments)
    assert done.returncode == 2 and expected in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "ckpt").exists()


def hide_optuna():
    for name in [
        name for name in sys.modules if name.split(".")[0] == "optuna" or name.startswith(("src.grid.", "src.runs.journal"))
    ]:
        del sys.modules[name]
    sys.modules["optuna"] = None  # importing it raises ModuleNotFoundError


def test_without_optuna(bench):
    done = bench("tune", "--tasks", "question-pair", before=hide_optuna)
    assert done.returncode == 2 and "pip install -r requirements-tune.txt" in done.stderr
    shown = bench("tune", "--print_space", "--weight_decay", "0", before=hide_optuna)
    assert json.loads(shown.stdout) == {"learning_rate": [1e-7, 1e-3]}


def summary(tmp_path, ckpt):
    trials = read_trials(tmp_path / ckpt / "benchmark" / "tiny" / "nsmc" / "tune")
    return [(trial.state.name, trial.params, trial.value, trial.intermediate_values) for trial in trials]


@pytest.mark.long
def test_the_planted_rate_is_found_and_a_killed_search_gives_the_same_trials(bench, tmp_path):
    """The search is killed without a chance to react, during its second trial, which goes on without it."""
    copy_data(tmp_path, "nsmc", "ratings_train.txt")
    flags = ("--tasks", "nsmc", "--dev_ratio", "0.2", "--trials", "4", "--num_train_epochs", "5", "--logging_steps", "10")
    done = bench("tune", *flags, ckpt="whole", timeout=1500)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "config" / "tuning" / "tiny.nsmc.json").read_text())
    assert found["learning_rate"] == 1e-3 and found["search"]["dev"] > 0.8
    whole = summary(tmp_path, "whole")
    assert {params["learning_rate"] for _, params, *_ in whole} == {1e-7, 1e-3}

    folder = tmp_path / "ckpt" / "benchmark" / "tiny" / "nsmc" / "tune"
    process = bench("tune", *flags, start=Forked)
    while process.poll() is None and not (folder / "trial-1" / "resume" / "scores.json").exists():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(summary(tmp_path, "ckpt")) == 2
    done = bench("tune", *flags, timeout=1500)
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path, "ckpt") == whole
    assert len(list(folder.glob("trial-*/checkpoint-*"))) == len(list((tmp_path / "whole").rglob("checkpoint-*")))
