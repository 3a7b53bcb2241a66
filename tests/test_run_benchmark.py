"""The real command lines of the grid, on the sample."""

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

from tests.conftest import ROOT, SAMPLE


@pytest.fixture
def grid(command, tmp_path):
    """grid("run", "--seeds", "1,2") runs the tiny model on the sample in ten updates; the grid lands in tmp_path/ckpt."""

    def run(what, *arguments, **options):
        places = ["--ckpt_dir", str(tmp_path / "ckpt")]
        if what == "run":
            places += ["--models", "tiny", "--data_dir", "data/sample", "--feature_cache_dir", str(tmp_path / "cache")]
            places += ["--max_steps", "10"]
        return command("run_benchmark.py", what, *places, *arguments, **options)

    return run


def messages(done):
    return [line.split(" ", 1)[1] for line in done.stderr.splitlines()]


def test_from_nothing_to_the_table(grid, tmp_path):
    """Two tasks, two seeds, two at a time; then the table; then there is nothing to do; then the cost of two more."""
    wanted = ("--tasks", "nsmc,korquad", "--seeds", "1,2", "--devices", "cpu,cpu")
    done = grid("run", *wanted)
    assert done.returncode == 0, done.stderr
    assert messages(done)[0] == "runs: 4 new"
    assert messages(done)[-1] == (f"4 of 4 runs are finished. Next: python3 run_benchmark.py report --ckpt_dir {tmp_path}/ckpt")
    folders = sorted((tmp_path / "ckpt" / "benchmark" / "tiny").glob("*/seed-?"))
    assert [str(folder.relative_to(tmp_path / "ckpt")) for folder in folders] == [
        f"benchmark/tiny/{task}/seed-{seed}" for task in ("korquad", "nsmc") for seed in (1, 2)
    ]

    told = grid("report")
    assert told.returncode == 0, told.stderr
    with open(tmp_path / "ckpt" / "benchmark" / "results.csv", newline="") as stream:
        selected, _ = csv.DictReader(stream)
    for task, score, scale in [("nsmc", "acc", 100), ("korquad", "f1", 1)]:
        results = [json.loads((folder / "eval_results.json").read_text()) for folder in folders if task in str(folder)]
        mean = sum(each["selected"]["test"][score] for each in results) / 2 * scale
        assert float(selected[f"{task}.{score}.mean"]) == pytest.approx(mean, rel=1e-5)
        assert selected[f"{task}.{score}.n"] == "2"
    assert "| tiny | 1M |" in told.stdout

    compared = grid("report", "compare", "tiny", "tiny")
    assert compared.returncode == 0, compared.stderr
    assert [line.split(" | ")[:2] for line in compared.stdout.splitlines()[2:5]] == [
        ["| nsmc", "acc"],
        ["| korquad", "exact_match"],
        ["| korquad", "f1"],
    ]

    before = {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}
    again = grid("run", *wanted)
    assert (again.returncode, messages(again)[0]) == (0, "runs: 4 finished")
    assert {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")} == before

    dry = grid("run", "--tasks", "nsmc,korquad", "--seeds", "1,2,3", "--dry_run")
    first, *commands, seconds, disk = dry.stdout.splitlines()
    assert first == "# runs: 4 finished, 2 new"
    assert [line.split()[1:4] for line in commands] == [
        ["run_seq_cls.py", "--task", "nsmc"],
        ["run_squad.py", "--task", "korquad"],
    ]
    assert re.fullmatch(r"# time: \d+:\d\d, one run after the other, as on cpu, 1 threads", seconds)
    assert re.fullmatch(r"# disk: \d+ MB in the end", disk)
    other = grid("run", "--tasks", "nsmc", "--seeds", "1", "--max_steps", "4", "--dry_run").stdout
    assert "# tiny/nsmc/seed-1 starts afresh: it holds a run with other settings (max_steps 10, now 4)" in other


def test_what_failed_is_told_and_tried_again(grid, tmp_path):
    """The test file of one task is missing, then there."""
    data = tmp_path / "data"
    data.mkdir()
    for task in ("nsmc", "paws"):
        (data / task).symlink_to(SAMPLE / task)
    (data / "paws").unlink()
    wanted = ("run", "--tasks", "nsmc,paws", "--seeds", "1", "--data_dir", str(data))
    done = grid(*wanted)
    assert done.returncode == 1
    (failed,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert failed.startswith("failed: tiny/paws/seed-1: ") and "translated_train.tsv" in failed
    assert "1 of 2 runs are finished; the same command tries the others again" in done.stderr
    assert f"- failed: `tiny/paws/seed-1`: {failed.split(': ', 2)[2].rsplit(' (', 1)[0]}" in grid("report").stdout

    (data / "paws").symlink_to(SAMPLE / "paws")
    again = grid(*wanted)
    assert again.returncode == 0, again.stderr
    assert messages(again)[0] == "runs: 1 finished, 1 new"
    assert "failed" not in grid("report").stdout


def begun(tmp_path, process):
    """Wait until the cell is training."""
    log = tmp_path / "ckpt" / "benchmark" / "tiny" / "nsmc" / "seed-1.log"
    while process.poll() is None and not (log.exists() and "training: " in log.read_text()):
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_goes_on(grid, tmp_path, number):
    """It ends with the same scores as a run on its own that nobody interrupts."""
    wanted = ("run", "--tasks", "nsmc", "--seeds", "1", "--max_steps", "150")
    line = grid(*wanted, "--dry_run").stdout.splitlines()[1]
    process = grid(*wanted, wait=False)
    begun(tmp_path, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number, errors
    assert errors.splitlines()[-1] == f"interrupted by {number.name}; the same command goes on from there"
    assert "unfinished: `tiny/nsmc/seed-1`" in grid("report").stdout

    done = grid(*wanted)
    assert (done.returncode, messages(done)[0]) == (0, "runs: 1 to go on"), done.stderr
    if number == signal.SIGINT:
        return
    alone = subprocess.run([sys.executable, *line.split()[1:], "--ckpt_dir", tmp_path / "other"], cwd=ROOT, capture_output=True)
    assert alone.returncode == 0
    results = [path.read_bytes() for path in tmp_path.glob("*/benchmark/tiny/nsmc/seed-1/eval_results.json")]
    assert len(results) == 2 and results[0] == results[1]


def test_a_terminal_shows_a_table(tmp_path):
    places = ["--ckpt_dir", str(tmp_path / "ckpt"), "--feature_cache_dir", str(tmp_path / "cache"), "--data_dir", "data/sample"]
    wanted = ["run", "--models", "tiny", "--tasks", "nsmc", "--seeds", "1", "--max_steps", "3", *places]
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "run_benchmark.py", *wanted], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 100_000)
        except OSError:  # the other side is closed
            break
    assert process.wait() == 0
    os.close(ours)
    process.stdout.close()
    text = shown.decode()
    assert "0/1 ▶1" in text and "▶ tiny/nsmc/seed-1" in text and "1 of 1 done" in text
    assert text.rstrip().endswith("1 of 1 runs are finished. Next: python3 run_benchmark.py report " + " ".join(places[:2]))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "required: run | report"),
        (["run"], "required: --models"),
        (["run", "--models", "tinny"], "Did you mean 'tiny'?"),
        (["run", "--models", "tiny", "--tasks", "news"], "'news' is no task"),
        (["run", "--models", "tiny", "--seeds", "one"], "'one' is not a whole number"),
        (["run", "--models", "tiny", "--devices", "tpu"], "'tpu' is not here"),
        (["run", "--models", "tiny", "--model", "x"], "--model is no setting"),
        (["run", "--models", "tiny", "nsmc"], "'nsmc' stands without a setting's name"),
        (["report", "--ckpt_dir", "nowhere"], "nowhere/benchmark/ is not there"),
        (["report", "--models", "tiny"], "unrecognized arguments: --models"),
        (["report", "compare", "tiny"], "report compare tiny: say report alone, or report compare MODEL MODEL"),
        (["report", "tiny", "tiny"], "say report alone, or report compare MODEL MODEL"),
        (["report", "compare", "a", "b", "--view", "best"], "invalid choice: 'best'"),
        (["rapport"], "invalid choice: 'rapport'"),
    ],
)
def test_wrong_commands_end_with_a_sentence(command, arguments, expected):
    done = command("run_benchmark.py", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
