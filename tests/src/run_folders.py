"""Runs without training: folders with checkpoints of one small file, for the tests of src.runs.folder and src.runs.status."""

import json
import os
from pathlib import Path

from processor.definition import TASKS
from src.data.task import DataFile
from src.runs.status import find_run
from src.training.state_file import write_state


def data_file(sha256="1" * 64):
    return DataFile(Path("f"), sha256, "other")


FILES = {"train": data_file(), "dev": data_file(), "test": data_file()}
DEFINITION = TASKS["nsmc"].model_dump(mode="json", exclude_defaults=True)
NO_DEV = {"train": data_file(), "test": data_file()}


def start(settings, files=FILES, **changes):
    """A run that has just started."""
    run = find_run(settings(**changes), TASKS["nsmc"], files)
    run.start({"device": "a test", "definition": DEFINITION}, {split: {"rows": 3} for split in files})
    return run


def save(run, step, **accuracies):
    """Save a checkpoint with the given accuracies by split."""
    for split, accuracy in accuracies.items():
        run.add_scores(step, split, {"acc": accuracy, "loss": 1.0})
    with run.new_checkpoint(step) as folder:
        (folder / "model.safetensors").write_text(str(step))


def save_state(run, step):
    """Save a state of training without any tensors."""
    with run.new_state() as path:
        write_state(path, {"step": step})


def end_process(run):
    """Release the lock, as the end of the process would."""
    os.close(run.lock)


def finish(run):
    """Finish the run; return its eval_results.json."""
    run.finish_training({"evaluation_seconds": 0.0})
    run.finish(1.5, 4.0)
    end_process(run)
    return json.loads((run.folder / "eval_results.json").read_text())


def finished(settings):
    """A finished run with one checkpoint."""
    run = start(settings)
    save(run, 1, dev=0.5, test=0.5)
    finish(run)
    return run


def interrupted(settings):
    """A run killed after its state was saved at step 2: later log lines, half a checkpoint and half a file are left."""
    run = start(settings)
    for step in (1, 2, 3):
        run.log({"step": step})
    with open(run.folder / "log.jsonl", "a") as log:
        log.write('{"step": 4, "los')
    run.add_scores(1, "dev", {"acc": 0.4})
    save_state(run, 2)
    save(run, 2, dev=0.5)
    run.add_scores(3, "dev", {"acc": 0.6}, cautions=["it is lost"])
    (run.folder / ".checkpoint-3.partial").mkdir()
    (run.folder / ".cost.json.partial").write_text("{")
    end_process(run)
    return run


def visible(folder):
    """Names in a folder, without hidden files."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
