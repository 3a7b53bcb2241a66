"""One update after the other, and the state between them; tests/src/test_train_resume.py interrupts whole trainings."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from src.model.device import DEVICE_TYPES, random_state, set_random_state
from src.model.heads import HEADS
from src.training import meter as meter_module
from src.training.optimizer import make_optimizer
from src.training.state import Plan, TrainState, accumulate, update_weights
from src.training.state_file import read_state, write_state
from tests.src.helpers import CPU, RandomSplit, model_with_nan, small_model, task_model


@pytest.mark.parametrize(
    ("rows", "changes", "expected"),
    [
        (20, {}, Plan(4, 5, 5)),
        (21, {}, Plan(4, 6, 6)),  # the tail of an epoch is an update
        (21, {"num_train_epochs": 2.5}, Plan(4, 6, 15)),
        (21, {"gradient_accumulation_steps": 3}, Plan(12, 2, 2)),
        (3, {"gradient_accumulation_steps": 3}, Plan(12, 1, 1)),  # fewer batches than accumulation steps
        (21, {"max_steps": 1000}, Plan(4, 6, 1000)),
        (400, {"num_train_epochs": 1.1}, Plan(4, 100, 110)),  # 1.1 * 100 is a little more than 110
    ],
)
def test_plan(settings, rows, changes, expected):
    assert Plan.of(rows, settings(**{"train_batch_size": 4, "num_train_epochs": 1} | changes)) == expected


@pytest.mark.parametrize("fused", [True, False])
def test_a_nonfinite_update_changes_neither_weights_nor_optimizer(settings, fused):
    accelerator = Accelerator(cpu=True)
    model = small_model()
    model, optimizer = accelerator.prepare(model, make_optimizer(model, settings(), fused))
    batch = task_model(model).collate(RandomSplit(4).features, np.arange(4))

    def update(items):
        loss = accumulate(task_model(model), [batch], items, accelerator)
        return update_weights(model, loss, optimizer, accelerator, 1.0)

    assert update(4).finite
    before = [weight.clone() for weight in [*model.parameters(), *(s["exp_avg"] for s in optimizer.optimizer.state.values())]]
    assert not update(0).finite  # the mean over no items
    after = [*model.parameters(), *(state["exp_avg"] for state in optimizer.optimizer.state.values())]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert {int(state["step"]) for state in optimizer.optimizer.state.values()} == {1}
    assert update(4).finite
    assert not torch.equal(before[0], next(iter(model.parameters())))


WEIGHTS = torch.tensor([3.0, 0.5])


def handwritten_classes(logits, labels, smoothing):
    """The weighted cross entropy, divided by the number of rows."""
    targets = torch.eye(2)[labels] * (1 - smoothing) + smoothing / 2
    return -(WEIGHTS * targets * torch.log_softmax(logits, 1)).sum() / len(labels)


def handwritten_labels(logits, labels, smoothing):
    """The binary cross entropy with weights for the labels that a row has, averaged over labels; the mean over rows."""
    p, labels = torch.sigmoid(logits), labels * (1 - smoothing) + smoothing / 2
    return -(WEIGHTS * labels * torch.log(p) + (1 - labels) * torch.log(1 - p)).mean(1).sum() / len(labels)


@pytest.mark.parametrize(("kind", "loss_of"), [("classification", handwritten_classes), ("multi_label", handwritten_labels)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("changes", [{}, {"train_batch_size": 4, "gradient_accumulation_steps": 3}, {"padding": "longest"}])
def test_weighted_losses_are_summed_and_divided_by_the_number_of_rows(settings, kind, loss_of, changes, smoothing):
    """Whatever the batches are: 12 rows in two parts of one batch, in parts of three batches, and in one batch."""
    features = RandomSplit(12).features
    if kind == "multi_label":
        features.tensors["labels"] = np.random.default_rng(0).integers(0, 2, (12, 2)).astype(np.float32)
    options = {"train_batch_size": 12, "max_steps": 1, "learning_rate": 0.01, "max_grad_norm": 1e9}
    losses = {"weights": WEIGHTS, "smoothing": smoothing}
    wrapped = replace(task_model(small_model(), settings(**options | changes)), head=HEADS[kind], **losses)
    state = TrainState(wrapped, features, Accelerator(cpu=True))

    model = small_model()
    batch = task_model(model).collate(features, np.arange(12))
    loss = loss_of(model(**batch.inputs).logits, batch.labels, smoothing)
    loss.backward()
    norm = torch.stack([weight.grad.norm() for weight in model.parameters()]).norm()
    state.advance()
    assert state.meter.read()["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert state.meter.read()["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


@pytest.mark.parametrize("changes", [{}, {"train_batch_size": 1, "gradient_accumulation_steps": 5}, {"padding": "longest"}])
def test_an_update_on_choices_is_the_same_however_its_rows_are_split(settings, changes):
    """Five rows of three sequences; the loss is written by hand, from one pass over all sequences."""
    features = RandomSplit(15).features
    features.tensors["labels"] = np.array([2, 0, 1, 1, 0])
    options = {"train_batch_size": 5, "max_steps": 1, "learning_rate": 0.01, "max_grad_norm": 1e9}
    wrapped = task_model(small_model(num_labels=1), settings(**options | changes))
    state = TrainState(replace(wrapped, head=HEADS["multiple_choice"]), features, Accelerator(cpu=True))

    model = small_model(num_labels=1)
    batch = task_model(model).collate(features, np.arange(5))
    probabilities = torch.softmax(model(**batch.inputs).logits.reshape(5, 3), 1)
    loss = -torch.log(probabilities[torch.arange(5), batch.labels]).mean()
    loss.backward()
    norm = torch.stack([weight.grad.norm() for weight in model.parameters()]).norm()
    state.advance()
    assert state.meter.read()["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert state.meter.read()["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


# -- state between updates -------------------------------------------------------------------------------------------------


@pytest.fixture
def frozen(monkeypatch):
    """No time passes, and no memory is used."""
    monkeypatch.setattr(meter_module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(meter_module, "peak_memory", lambda device: 0)


def train_state(settings, model=None, updates=0):
    """The state after some updates of 5 per epoch; the third one is not finite if the model is as `model_with_nan(3)`."""
    options = {"train_batch_size": 4, "max_steps": 12, "learning_rate": 0.01, "on_nonfinite": "skip"}
    model = model or small_model(dropout=0.1, seed=1)
    state = TrainState(task_model(model, settings(**options)), RandomSplit(18).features, Accelerator(cpu=True))
    for _ in range(updates):
        state.advance()
    return state


def differences(one, other, path="state"):
    """Paths at which two objects differ: in tensors, numbers, items or attributes, none of which is named here."""
    if type(one).__qualname__ != type(other).__qualname__:
        return [f"{path}: {type(one)}, {type(other)}"]
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    if isinstance(one, np.ndarray):
        return [] if np.array_equal(one, other) else [path]
    if isinstance(one, Mapping):
        missing = [f"{path}[{key!r}]" for key in one.keys() ^ other.keys()]
        return missing + [
            place for key in one.keys() & other.keys() for place in differences(one[key], other[key], f"{path}[{key!r}]")
        ]
    if isinstance(one, list | tuple):
        parts = [differences(a, b, f"{path}[{number}]") for number, (a, b) in enumerate(zip(one, other, strict=False))]
        return sum(parts, [f"{path}: length"] if len(one) != len(other) else [])
    if type(one).__module__.startswith("src."):
        return differences(vars(one), vars(other), path)
    if hasattr(one, "state_dict"):
        return differences(one.state_dict(), other.state_dict(), f"{path}.state_dict()")
    return [] if isinstance(one, Accelerator) or one == other else [path]


def reload(settings, tmp_path, state, model=None):
    """A new state, loaded from the file of another one."""
    path = tmp_path / "state.safetensors"
    write_state(path, state.state_dict())
    loaded = train_state(settings, model)
    loaded.load_state_dict(read_state(path))
    return loaded


def test_a_resumed_state_equals_an_undisturbed_one_in_every_attribute(settings, tmp_path, frozen):
    state = train_state(settings, model_with_nan(3)[0], updates=4)
    loaded = reload(settings, tmp_path, state, model_with_nan()[0])
    assert differences(loaded.state_dict(), state.state_dict()) == []
    for one in (state, loaded):
        one.advance()  # works out the order of the epoch again
    assert differences(vars(loaded), vars(state)) == []
    loaded.meter.loss += 1
    loaded.step += 1
    assert len(differences(vars(loaded), vars(state))) == 2  # the comparison sees what is inside


def test_a_resumed_state_draws_the_same_random_numbers(settings, tmp_path, frozen):
    """Dropout after a reload is as without one."""
    state = train_state(settings, updates=2)
    write_state(tmp_path / "before", state.state_dict())
    state.advance()
    loaded = train_state(settings)
    loaded.load_state_dict(read_state(tmp_path / "before"))
    loaded.advance()
    assert differences(loaded.state_dict(), state.state_dict()) == []


def test_a_device_without_fused_adamw_makes_the_same_updates(settings, tmp_path, monkeypatch):
    """Up to rounding; with a non-finite update, and with the same bits after a reload."""
    fused = train_state(settings, model_with_nan(3)[0], updates=4)
    monkeypatch.setitem(DEVICE_TYPES, "cpu", replace(DEVICE_TYPES["cpu"], fuses_adamw=False))
    state = train_state(settings, model_with_nan(3)[0], updates=4)
    assert not state.optimizer.defaults["fused"] and state.meter.read()["skipped"] == 1
    for one, other in zip(fused.task_model.model.parameters(), state.task_model.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    write_state(tmp_path / "state", state.state_dict())
    loaded = train_state(settings, model_with_nan()[0])
    loaded.load_state_dict(read_state(tmp_path / "state"))
    state.advance()
    loaded.advance()
    assert differences(loaded.state_dict()["model"], state.state_dict()["model"]) == []


def draw():
    return random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


def test_generators_repeat_their_numbers_from_a_state():
    random.gauss(), np.random.randn()  # both keep a second number, which is part of the state
    state = random_state(CPU)
    expected = draw()
    assert draw() != expected
    as_json = json.loads(json.dumps({name: state[name] for name in ("python", "numpy")}))
    set_random_state(state | as_json, CPU)
    assert draw() == expected


def test_state_dict_changes_nothing_that_can_be_seen(settings):
    state = train_state(settings, updates=2)
    meter = dict(vars(state.meter))
    state.state_dict()
    assert vars(state.meter) == meter


def first_edition_state(state):
    """The tensors and facts of `state` as the first edition of this project wrote them; its files must resume."""
    meter, model, schedule = state.meter, state.task_model.model, state.schedule.state_dict()
    tensors = {f"model.{name}": weight.detach() for name, weight in model.named_parameters()}
    tensors |= {f"model.{name}": buffer for name, buffer in model.named_buffers() if name in model.state_dict()}
    for name, weight in model.named_parameters():
        tensors |= {f"optimizer.{name}.{key}": value for key, value in state.optimizer.state[weight].items()}
    tensors |= {
        "meter.loss": meter.loss, "meter.skipped": meter.skipped, "meter.total_skipped": meter.total_skipped,
        "meter.grad_norm": meter.grad_norm,
        "meter.nonfinite_in_a_row": meter.nonfinite_in_a_row, "meter.failed_step": meter.failed_step,
        "random.cpu": torch.get_rng_state(),
    }  # fmt: skip
    numpy_state = np.random.get_state(legacy=False)
    facts = {
        "step": state.step,
        "computed": "on cpu, precision no",
        "parts": state.parts,
        "meter": {
            "updates": meter.updates, "rows": meter.rows, "tokens": meter.tokens, "seconds": meter.seconds,
            "total_seconds": meter.total_seconds, "total_tokens": meter.total_tokens, "peak_before": meter.peak_before,
        },
        "schedule": {name: schedule[name] for name in ("last_epoch", "_step_count", "_last_lr", "base_lrs")},
        "scaler": None,
        "random": {
            "python": random.getstate(),
            "numpy": numpy_state | {"state": numpy_state["state"] | {"key": numpy_state["state"]["key"].tolist()}},
        },
        "evaluation_seconds": 1.5,
    }  # fmt: skip
    return tensors, facts


def test_the_file_has_the_names_of_the_first_edition(settings, tmp_path, frozen):
    state = train_state(settings, model_with_nan(3)[0], updates=4)
    tensors, facts = first_edition_state(state)
    write_state(tmp_path / "state", state.state_dict() | {"evaluation_seconds": 1.5})
    written = load_file(tmp_path / "state")
    assert differences(written, tensors) == []
    with safe_open(tmp_path / "state", "pt") as file:
        assert json.loads(file.metadata()["facts"]) == json.loads(json.dumps(facts))


def test_a_file_of_the_first_edition_resumes(settings, tmp_path, frozen):
    state = train_state(settings, model_with_nan(3)[0], updates=4)
    tensors, facts = first_edition_state(state)
    save_file(tensors, tmp_path / "state", {"facts": json.dumps(facts)})
    loaded = train_state(settings, model_with_nan()[0])
    loaded.load_state_dict(read_state(tmp_path / "state"))
    assert int(loaded.meter.skipped) == 1
    for one in (state, loaded):
        one.advance()
    assert differences(vars(loaded), vars(state)) == []
