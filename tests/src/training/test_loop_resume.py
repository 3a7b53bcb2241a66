"""An interrupted training, resumed, ends with the bits of an undisturbed one. tests/test_kills.py kills processes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from processor.definition import TASKS
from src.common import signals
from src.common.errors import CheckpointError, Interrupted
from src.model.unpadding.unpad import unpad_encoder
from src.runs.status import find_run
from src.training.state_file import read_state, write_state
from tests.src.helpers import log_of, model_with_nan, run_training, small_model
from tests.src.run_folders import visible

BASE = {"train_batch_size": 4, "max_steps": 12, "learning_rate": 0.01, "log_every": 5, "save_steps": 4, "logging_steps": 3}


def train_or_resume(settings, output_dir, model=None, unpads=False, **changes):
    """Train in this folder until the training ends or is interrupted; return its run and its model."""
    chosen = settings(**BASE | {"output_dir": output_dir} | changes)
    torch.manual_seed(chosen.seed)
    model = model or small_model(dropout=0.1)
    if unpads:
        unpad_encoder(model)
    return run_training(chosen, model, rows=22, unpads=unpads), model


def interrupt_at(number):
    """Return a signals.check for which a signal has arrived at its `number`-th call."""
    calls = []

    def check():
        calls.append(1)
        if len(calls) == number:
            raise Interrupted(15)

    return check


def interrupted(settings, monkeypatch, at=5):
    """A training of `BASE` interrupted at a check, as find_run sees it, and the exception."""
    with monkeypatch.context() as patch:
        patch.setattr(signals, "check", interrupt_at(at))
        with pytest.raises(Interrupted) as caught:
            train_or_resume(settings, "run")
    return find_run(settings(**BASE), TASKS["nsmc"], {}), caught.value


def lines_of(run):
    """The lines of log.jsonl without times."""
    return [{name: value for name, value in line.items() if "_per_s" not in name and name != "seconds"} for line in log_of(run)]


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation_steps": 3, "batching": "bucketed"},
        {"layer_decay": 0.7, "lr_scheduler": "cosine", "warmup_proportion": 0.3, "weight_decay": 0.1, "unpads": True},
        pytest.param({}, marks=pytest.mark.long),
        pytest.param({"warmup_proportion": 0.5, "max_grad_norm": 0.1}, marks=pytest.mark.long),
        # It ends at step 9, between two checkpoints and two lines of the log: dev is scored at 3, 4, 6, 8 and 9.
        {"dev_file": "ratings_test.txt", "early_stopping_patience": 4, "learning_rate": 1e-9},
    ],
    ids=str,
)
def test_resumes_from_every_step_bit_for_bit(settings, monkeypatch, changes):
    """12 updates and 6 evaluations of three batches, interrupted again and again after a few checks."""
    whole, trained = train_or_resume(settings, "whole", **changes)
    interruptions = 0
    for attempt in range(100):
        monkeypatch.setattr(signals, "check", interrupt_at(2 + attempt % 4))
        try:
            run, model = train_or_resume(settings, "parts", **changes)
            break
        except Interrupted:
            interruptions += 1
    assert interruptions > 5
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), trained.parameters(), strict=True))
    assert lines_of(run) == lines_of(whole)
    assert run.history.scores == whole.history.scores
    assert (run.folder / "eval_results.json").read_bytes() == (whole.folder / "eval_results.json").read_bytes()
    assert run.checkpoints() == whole.checkpoints()
    assert max(run.checkpoints()) == lines_of(run)[-1]["step"] == (9 if "early_stopping_patience" in changes else 12)
    assert not (run.folder / "resume").exists()


def test_measurements_continue_after_an_interruption(settings, monkeypatch):
    """An update is skipped before the interruption, and the mean loss is of the whole window."""
    changes = {"log_every": 12, "on_nonfinite": "skip", "save_steps": 100, "logging_steps": 100}
    whole, _ = train_or_resume(settings, "whole", model_with_nan(3)[0], **changes)
    monkeypatch.setattr(signals, "check", interrupt_at(6))
    with pytest.raises(Interrupted):
        train_or_resume(settings, "parts", model_with_nan(3)[0], **changes)
    run, _ = train_or_resume(settings, "parts", model_with_nan()[0], **changes)
    assert lines_of(run) == lines_of(whole)
    assert lines_of(run)[0]["skipped"] == 1


def test_an_interruption_names_the_saved_step(settings, monkeypatch):
    _, error = interrupted(settings, monkeypatch)
    assert "SIGTERM; step 3 of 12 is saved" in str(error)
    assert error.exit_code == 143


@pytest.mark.parametrize("content", ["poison", "half", "nothing", "other facts", "other weights"])
def test_rejects_a_damaged_state(settings, monkeypatch, poison, content):
    run, _ = interrupted(settings, monkeypatch)
    path, whole = run.state_file, run.state_file.read_bytes()
    tensors = load_file(path)
    if content == "poison":
        path.write_bytes(poison)
    elif content == "other facts":
        save_file(tensors, path, {"facts": json.dumps({"step": "many"})})
    elif content == "other weights":
        save_file({"model.a": torch.zeros(2)}, path, {"facts": "{}"})
    else:
        path.write_bytes(whole[: len(whole) // 2] if content == "half" else b"")
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged .*--resume false"):
        train_or_resume(settings, "run")
    assert visible(run.folder.parent) == ["run"]
    run, _ = train_or_resume(settings, "run", resume=False)  # as the message advises
    assert run.checkpoints()


def test_rejects_a_state_of_another_model(settings, monkeypatch):
    run, _ = interrupted(settings, monkeypatch)
    kept = shutil.copytree(run.folder, run.folder.with_name("kept"))
    with pytest.raises(CheckpointError, match="of another model"):
        train_or_resume(settings, "run", small_model(num_labels=3))
    assert run.state_file.read_bytes() == (kept / "resume" / "state.safetensors").read_bytes()


def test_warns_if_the_device_or_precision_changes(settings, monkeypatch, caplog):
    run, _ = interrupted(settings, monkeypatch)
    write_state(run.state_file, read_state(run.state_file) | {"computed": "on cuda, precision bf16"})
    with caplog.at_level("INFO"):
        train_or_resume(settings, "run")
    assert f"{run.folder}: resuming from step 3" in caplog.text
    assert "on cuda, precision bf16, resuming on cpu, precision no" in caplog.text
