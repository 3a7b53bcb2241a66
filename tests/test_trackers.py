"""Runs that report to a tracker, read back from the files of TensorBoard."""

import json
import signal
import time
from collections import Counter

import pytest

from tests.commands import Forked

EVERY_STEPS = ["--max_steps", "12", "--save_steps", "4", "--logging_steps", "4", "--log_every", "3", "--dev_ratio", "0.2"]


def scalars_in(folder):
    """(tag, step) -> value of every scalar below a folder; each must be there once."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader").EventFileLoader
    scalars = [
        (value.tag, event.step, value.tensor.float_val[0])
        for path in folder.rglob("events.out.tfevents.*")
        for event in loader(str(path)).Load()
        for value in event.summary.value
        if "/" in value.tag and not value.tag.startswith("_")
    ]
    assert max(Counter((tag, step) for tag, step, _ in scalars).values()) == 1
    return {(tag, step): value for tag, step, value in scalars}


def recorded_in(run):
    """The same numbers in the run's own records."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    recorded = {(f"train/{name}", line["step"]): value for line in lines for name, value in line.items() if name != "step"}
    for step, splits in json.loads((run / "eval_results.json").read_text())["scores"].items():
        recorded |= {(f"{split}/{name}", int(step)): value for split, scores in splits.items() for name, value in scores.items()}
    return recorded


def test_tensorboard_shows_what_the_run_records(tiny, tmp_path):
    done = tiny(*EVERY_STEPS, "--report_to", "tensorboard")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "ckpt" / "tiny-nsmc-ckpt"
    shown = scalars_in(run / "tensorboard")
    assert shown == pytest.approx(recorded_in(run), rel=1e-6)
    assert {step for tag, step in shown if tag == "train/loss"} == {3, 6, 9, 12}
    assert {step for tag, step in shown if tag == "dev/acc"} == {step for tag, step in shown if tag == "test/acc"} == {4, 8, 12}


@pytest.mark.long
def test_nothing_is_there_twice_after_a_kill(tiny, tmp_path):
    """Killed after the state of step 4, when more lines have been shown; the state it resumes from is older."""
    command = [*EVERY_STEPS, "--max_steps", "600", "--report_to", "tensorboard"]
    run = tmp_path / "ckpt" / "tiny-nsmc-ckpt"
    process = tiny(*command, start=Forked)
    while not (run / "checkpoint-20").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert ("train/loss", 18) in scalars_in(run / "tensorboard")
    done = tiny(*command)
    assert done.returncode == 0, done.stderr
    assert "resuming from step" in done.stderr
    assert scalars_in(run / "tensorboard") == pytest.approx(recorded_in(run), rel=1e-6)


def test_a_tracker_that_is_not_installed(tiny):
    failed = tiny("--report_to", "swanlab")
    assert failed.returncode == 2 and "pip install swanlab" in failed.stderr
