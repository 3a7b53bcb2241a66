"""The command lines of run_benchmark.py, as real processes on the sample."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

import run_benchmark
from processor.definition import TASKS
from src.common.errors import BenchmarkError
from src.report.read_runs import read_grid
from tests.commands import Forked, fork_cells, run_forked, run_script
from tests.conftest import ROOT, SAMPLE
from tests.src.grid.helpers import make_cells


@pytest.fixture
def grid(tmp_path):
    """grid("run", "--seeds", "1") runs the tiny model for a few steps on tmp_path/data; the grid is in tmp_path/ckpt.

    start: run_script, or another function or class of tests.commands.
    """
    (tmp_path / "data").mkdir()
    for task in ("nsmc", "korquad"):
        (tmp_path / "data" / task).symlink_to(SAMPLE / task)

    def run(name, *arguments, start=run_forked):
        flags = ["--ckpt_dir", str(tmp_path / "ckpt")]
        if name == "run":
            flags += ["--models", "tiny", "--max_steps", "4", "--data_dir", str(tmp_path / "data")]
            flags += ["--feature_cache_dir", str(tmp_path / "cache")]
        options = {} if start is run_on_terminal else {"before": fork_cells}
        return start("run_benchmark.py", name, *flags, *arguments, **options)

    return run


def run_on_terminal(*arguments):
    """Run a command whose standard error is a terminal; return what it shows there."""
    terminal, stderr = pty.openpty()
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr) as process:
        os.close(stderr)
        output = b""
        while True:
            try:
                output += os.read(terminal, 100_000)
            except OSError:  # the process has ended
                break
    os.close(terminal)
    assert process.returncode == 0, output.decode()
    return output.decode()


def messages(done):
    """The log lines without the time."""
    return [line.split(" ", 1)[1] for line in done.stderr.splitlines() if line[:2].isdigit()]


def modification_times(folders):
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


@pytest.mark.long
def test_from_nothing_to_the_table(grid, tmp_path):
    """Two runs at a time on three tasks. One fails, as its data is missing, and is tried again on a terminal."""
    tasks = ("--tasks", "nsmc,paws,korquad", "--seeds", "1")
    done = grid("run", *tasks, "--devices", "cpu,cpu")
    assert done.returncode == 1
    assert messages(done)[0] == "runs: 3 new"
    assert messages(done)[-1].startswith("2 of 3 runs are finished; ")
    assert messages(done)[-1].endswith(f"python3 run_benchmark.py report --ckpt_dir {tmp_path}/ckpt")
    (failed,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert failed.startswith("failed: tiny/paws/seed-1: ") and "translated_train.tsv" in failed
    root = tmp_path / "ckpt" / "benchmark"
    folders = [root / "tiny" / task / "seed-1" for task in ("korquad", "nsmc")]
    assert sorted(root.glob("tiny/*/seed-?")) == folders

    report = grid("report")
    assert report.returncode == 0, report.stderr
    assert "| tiny | 1M |" in report.stdout and "| *KR-ELECTRA* <sup>" in report.stdout
    assert f"- failed: `tiny/paws/seed-1`: {failed.split(': ', 2)[2].rsplit(' (', 1)[0]}" in report.stdout
    with open(root / "results.csv", newline="") as stream:
        means = {(row["task"], row["score"]): float(row["mean"]) for row in csv.DictReader(stream) if row["view"] == "selected"}
    scores = {path.parent.name: json.loads((path / "eval_results.json").read_text())["selected"]["test"] for path in folders}
    assert means == {
        ("nsmc", "acc"): pytest.approx(100 * scores["nsmc"]["acc"]),
        ("korquad", "exact_match"): pytest.approx(scores["korquad"]["exact_match"]),
        ("korquad", "f1"): pytest.approx(scores["korquad"]["f1"]),
    }

    compared = grid("compare", "tiny", "tiny")
    assert compared.returncode == 0, compared.stderr
    assert [line.split(" | ")[:2] for line in compared.stdout.splitlines()[2:5]] == [
        ["| nsmc", "acc"],
        ["| korquad", "exact_match"],
        ["| korquad", "f1"],
    ]
    alias = grid("report", "compare", "tiny", "tiny", "--tasks", "nsmc", "--view", "best_on_test").stdout
    assert "| nsmc | acc |" in alias and "korquad" not in alias and "`best_on_test`" in alias

    (tmp_path / "data" / "paws").symlink_to(SAMPLE / "paws")
    before = modification_times(folders)
    text = grid("run", *tasks, start=run_on_terminal)
    assert "0/1 ▶1" in text and "▶ tiny/paws/seed-1" in text and "3 of 3 done" in text
    assert "2 finished, 1 new" in text and "3 of 3 runs are finished. " in text
    assert modification_times(folders) == before
    report = grid("report", "--published", "seeds").stdout
    assert "failed" not in report and "*KoBERT*" in report and "KR-ELECTRA" not in report

    first, *commands, seconds, disk = grid("run", "--tasks", "nsmc,korquad", "--seeds", "1,2", "--dry_run").stdout.splitlines()
    assert first == "# runs: 2 finished, 2 new"
    assert [line.split()[1:4] for line in commands] == [
        ["run_seq_cls.py", "--task", "nsmc"],
        ["run_squad.py", "--task", "korquad"],
    ]
    assert re.match(r"# time: \d+:\d\d, .* cpu, \d+ threads$", seconds) and re.match(r"# disk: \d+ MB$", disk)


def wait_for_training(tmp_path, process):
    output = tmp_path / "ckpt" / "benchmark" / "tiny" / "nsmc" / "seed-1.log"
    while process.poll() is None and not (output.exists() and "training: " in output.read_text()):
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupted_run_resumes(grid, tmp_path, number):
    """Its results equal those of a run that was not interrupted, byte for byte."""
    flags = ("run", "--tasks", "nsmc", "--seeds", "1", "--max_steps", "80")
    process = grid(*flags, start=Forked)
    wait_for_training(tmp_path, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert errors.splitlines()[-1].startswith(f"interrupted by {number.name}; ")
    records, (run,) = read_grid(tmp_path / "ckpt", TASKS)
    assert not records and (run.kind, run.place) == ("unfinished", "tiny/nsmc/seed-1")

    rest = ["--max_steps", "80", "--data_dir", str(SAMPLE), "--ckpt_dir", str(tmp_path / "other")]
    (cell,) = make_cells("tiny", "nsmc", "1", rest, TASKS)
    other = run_script(cell.script, *cell.flags)
    done = grid(*flags)
    assert (done.returncode, messages(done)[0]) == (0, "runs: 1 to resume"), done.stderr
    assert other.returncode == 0
    resumed, uninterrupted = (tmp_path / name / "benchmark/tiny/nsmc/seed-1" for name in ("ckpt", "other"))
    assert (resumed / "eval_results.json").read_bytes() == (uninterrupted / "eval_results.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "run | tune | report | compare"),
        (["run"], "--models"),
        (["run", "--models", "tinny"], "Did you mean 'tiny'?"),
        (["run", "--models", "tiny", "--tasks", "news"], "'news'"),
        (["run", "--models", "tiny", "--seeds", "one"], "'one'"),
        (["run", "--models", "tiny", "--devices", "tpu"], "'tpu'"),
        (["run", "--models", "tiny", "--gpus_per_run", "1"], "need --ray"),
        (["run", "--models", "tiny", "--ray", "auto", "--devices", "0"], "--devices"),
        (["run", "--models", "tiny", "--ray", "auto", "--cpus_per_run", "0"], "--cpus_per_run 0"),
        (["run", "--models", "tiny", "--ray", "auto", "--gpus_per_run", "1.5"], "--gpus_per_run 1.5"),
        (["run", "--models", "tiny", "--ray", "auto", "--gpus_per_run", "nan"], "--gpus_per_run nan"),
        (["run", "--models", "tiny", "--ray", "ray://head:10001"], "HOST:PORT"),
        (["run", "--models", "tiny", "--model", "x"], "--model"),
        (["run", "--models", "tiny", "nsmc"], "'nsmc'"),
        (["report", "--ckpt_dir", "nowhere"], "nowhere/benchmark/"),
        (["report", "--models", "tiny"], "--models"),
        (["report", "--published", "some"], "'some'"),
        (["report", "tiny", "tiny"], "tiny tiny"),
        (["report", "compare", "tiny"], "MODEL"),
        (["report", "compare", "a", "b", "--view", "best"], "'best'"),
        (["report", "--ckpt_dir", "nowhere", "compare", "a", "b"], "nowhere/benchmark/"),
        (["compare", "a", "b", "c"], "unrecognized arguments: c"),
        (["compare", "a", "b", "--ckpt_dir", "nowhere"], "nowhere/benchmark/"),
        (["rapport"], "'rapport'"),
    ],
)
def test_rejects_wrong_commands(monkeypatch, capsys, arguments, expected):
    monkeypatch.setattr(sys, "argv", ["run_benchmark.py", *arguments])
    with pytest.raises(BenchmarkError) as caught:
        run_benchmark.main()
    assert expected in str(caught.value) and caught.value.exit_code == 2
    assert capsys.readouterr().out == ""


def test_a_wrong_command_ends_with_one_message(command):
    done = command("run_benchmark.py", "rapport")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and "'rapport'" in done.stderr


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("run", ["--models", "--dry_run"]),
        ("report", ["--ckpt_dir", "--published", "--with_texts"]),
        ("compare", ["MODEL MODEL", "--view", "--ckpt_dir"]),
    ],
)
def test_every_command_has_a_help_text(monkeypatch, capsys, name, flags):
    monkeypatch.setattr(sys, "argv", ["run_benchmark.py", name, "--help"])
    with pytest.raises(SystemExit) as caught:
        run_benchmark.main()
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(flag in text for flag in flags)
