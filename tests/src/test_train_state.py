"""An interrupted training, continued, ends with the bits of one that was left alone. tests/test_kills.py kills processes."""

import json
import os
import shutil

import pytest
import torch
from accelerate import Accelerator

from src import signals
from src.errors import CheckpointError, Interrupted
from src.evaluate import Scorer
from src.heads import TaskModel
from src.run_status import find_run
from src.train import train
from src.unpadding import unpad_encoder
from tests.src.helpers import RandomSplit, small_model, task_model
from tests.src.test_train import log_of, sick_model

BASE = {"train_batch_size": 4, "max_steps": 12, "learning_rate": 0.01, "log_every": 5, "save_steps": 4, "logging_steps": 3}


def begin(settings, output_dir, model=None, unpads=False, **changes):
    """Go on with the run of this name until it ends or is interrupted; the run and its model."""
    chosen = settings(**BASE | {"output_dir": output_dir} | changes)
    torch.manual_seed(chosen.seed)
    model = model or small_model(dropout=0.1)
    wrapped = task_model(model)
    if unpads:
        unpad_encoder(model)
        wrapped = TaskModel(model, wrapped.collate, wrapped.head, wrapped.settings, unpads=True)
    run = find_run(chosen, "acc", {})
    run.start({}, {})
    scorer = Scorer(run, {"test": RandomSplit(8, "test")}, 40)
    try:
        train(wrapped, RandomSplit(22), chosen, Accelerator(cpu=True), run, scorer, model.save_pretrained)
        run.finish(scorer.seconds, 1.0)
    finally:
        os.close(run.lock)  # as at the end of the process
    return run, model


def look_that_interrupts(number):
    """In the place of interrupts.check: the `number`-th look finds that a signal has come."""
    looks = []

    def check():
        looks.append(1)
        if len(looks) == number:
            raise Interrupted(15)

    return check


def lines_of(run):
    return [{name: value for name, value in line.items() if "_per_s" not in name and name != "seconds"} for line in log_of(run)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_accumulation_steps": 3},
        {"batching": "bucketed"},
        {"warmup_proportion": 0.5, "max_grad_norm": 0.1},
        {"unpads": True},
    ],
    ids=str,
)
def test_it_goes_on_from_every_step_with_the_same_bits(settings, monkeypatch, changes):
    """12 updates and 6 evaluations of three batches: interrupted again and again after a few looks for a signal."""
    whole, trained = begin(settings, "whole", **changes)
    interruptions = 0
    for attempt in range(100):
        monkeypatch.setattr(signals, "check", look_that_interrupts(2 + attempt % 4))
        try:
            run, model = begin(settings, "parts", **changes)
            break
        except Interrupted as error:
            assert "is saved, and the same command goes on from there" in str(error)
            interruptions += 1
    assert interruptions > 5
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), trained.parameters(), strict=True))
    assert lines_of(run) == lines_of(whole)
    assert run.history.scores == whole.history.scores
    assert (run.folder / "eval_results.json").read_bytes() == (whole.folder / "eval_results.json").read_bytes()
    assert run.checkpoints() == whole.checkpoints()
    assert not (run.folder / "resume").exists()


def test_what_the_meter_has_seen_goes_on_too(settings, monkeypatch):
    """An update is skipped before the interruption, and the mean loss is of the whole window."""
    changes = {"log_every": 12, "on_nonfinite": "skip", "save_steps": 100, "logging_steps": 100}
    whole, _ = begin(settings, "whole", sick_model(3)[0], **changes)
    monkeypatch.setattr(signals, "check", look_that_interrupts(6))
    with pytest.raises(Interrupted):
        begin(settings, "parts", sick_model(3)[0], **changes)
    run, _ = begin(settings, "parts", sick_model()[0], **changes)
    assert lines_of(run) == lines_of(whole)
    assert lines_of(run)[0]["skipped"] == 1


def interrupted(settings, monkeypatch, at=5):
    with monkeypatch.context() as patch:
        patch.setattr(signals, "check", look_that_interrupts(at))
        with pytest.raises(Interrupted) as caught:
            begin(settings, "run")
    return find_run(settings(**BASE), "acc", {}), caught.value


def test_an_interruption_says_what_is_kept(settings, monkeypatch):
    _, error = interrupted(settings, monkeypatch)
    assert str(error) == "interrupted by SIGTERM; step 3 of 12 is saved, and the same command goes on from there"
    assert error.exit_code == 143


@pytest.mark.parametrize("content", ["poison", "half", "nothing", "other facts", "other weights"])
def test_a_state_that_is_damaged_is_refused(settings, monkeypatch, poison, content):
    from safetensors.torch import load_file, save_file

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
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged or of another model .* say --resume false"):
        begin(settings, "run")
    assert [path.name for path in run.folder.parent.iterdir() if not path.name.startswith(".")] == ["run"]
    run, _ = begin(settings, "run", resume=False)  # as the message says
    assert run.checkpoints()


def test_a_state_of_another_model_is_refused(settings, monkeypatch):
    run, _ = interrupted(settings, monkeypatch)
    kept = run.folder.with_name("kept")
    shutil.copytree(run.folder, kept)
    with pytest.raises(CheckpointError, match="of another model"):
        begin(settings, "run", small_model(num_labels=3))
    assert run.state_file.read_bytes() == (kept / "resume" / "state.safetensors").read_bytes()
