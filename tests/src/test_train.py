import json
import math
import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from src.batches import epoch_order
from src.errors import NumbersError
from src.evaluate import Scorer
from src.meter import BEARABLE_IN_FP16, Meter, Update
from src.run_status import find_run
from src.train import due_splits, train
from src.train_state import Plan, accumulate, make_optimizer, step
from tests.src.helpers import CPU, RandomSplit, small_model, task_model


def do_train(settings, model=None, rows=20, **changes):
    """Train the small model on `rows` rows; the run and the model."""
    base = {"train_batch_size": 4, "num_train_epochs": 1, "learning_rate": 0.01, "log_every": 1, "overwrite_output_dir": True}
    chosen = settings(**base | changes)
    model = model or small_model()
    run = find_run(chosen, "acc", {})
    run.start({}, {})
    scorer = Scorer(run, {"test": RandomSplit(8, "test")}, 4)
    train(task_model(model), RandomSplit(rows), chosen, Accelerator(cpu=True), run, scorer, model.save_pretrained)
    run.finish(0.0, 1.0)
    os.close(run.lock)  # as at the end of the process
    return run, model


def log_of(run):
    return [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]


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
def test_the_plan(settings, rows, changes, expected):
    assert Plan.of(rows, settings(**{"train_batch_size": 4, "num_train_epochs": 1} | changes)) == expected


def test_max_steps_makes_exactly_that_many_updates(settings):
    run, _ = do_train(settings, max_steps=7)
    assert [line["step"] for line in log_of(run)] == [1, 2, 3, 4, 5, 6, 7]
    assert run.checkpoints() == [7]


def test_the_schedule_is_linear_with_warm_up(settings):
    run, _ = do_train(settings, max_steps=10, warmup_proportion=0.2)
    expected = [0.0, 0.005, 0.01, 0.00875, 0.0075, 0.00625, 0.005, 0.00375, 0.0025, 0.00125]
    assert [line["learning_rate"] for line in log_of(run)] == pytest.approx(expected)


@pytest.mark.parametrize(("batch", "accumulation"), [(4, 3), (6, 2), (2, 6)])
def test_an_update_does_not_depend_on_how_it_is_split(settings, batch, accumulation):
    """20 rows in updates of 12: the second one is a tail of 8 rows, which must count in full."""
    calm = {"adam_epsilon": 1e-3}  # else AdamW blows rounding in a gradient near zero up to the learning rate
    _, whole = do_train(settings, train_batch_size=12, **calm)
    _, split = do_train(settings, train_batch_size=batch, gradient_accumulation_steps=accumulation, **calm)
    for one, other in zip(whole.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_the_weights_are_those_of_a_loop_written_by_hand(settings):
    """Six updates over two epochs, with clipping that bites and an epsilon at which the size of a gradient matters."""
    changes = {"num_train_epochs": 2, "adam_epsilon": 1e-3, "max_grad_norm": 0.05, "warmup_proportion": 0.5, "weight_decay": 0.1}
    run, trained = do_train(settings, rows=11, **changes)
    assert all(line["grad_norm"] > 0.05 for line in log_of(run))
    model, split = small_model(), RandomSplit(11)
    decaying = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": decaying, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01, eps=1e-3)
    rates = iter([0.0, 0.01 / 3, 0.02 / 3, 0.01, 0.02 / 3, 0.01 / 3])
    for epoch in (0, 1):
        order = epoch_order(11, 42, epoch)
        for rows in (order[:4], order[4:8], order[8:]):
            for group in optimizer.param_groups:
                group["lr"] = next(rates) if group is optimizer.param_groups[0] else optimizer.param_groups[0]["lr"]
            batch = task_model(model).collate(split.features, rows)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
    for one, other in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_the_same_run_gives_the_same_bits(settings):
    first, one = do_train(settings, model=small_model(dropout=0.1), num_train_epochs=2)
    losses = [line["loss"] for line in log_of(first)]
    second, other = do_train(settings, model=small_model(dropout=0.1), num_train_epochs=2)
    assert [line["loss"] for line in log_of(second)] == losses
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_biases_and_norms_do_not_decay(settings):
    model = small_model()
    optimizer = make_optimizer(model, settings(weight_decay=0.1))
    names = {id(weight): name for name, weight in model.named_parameters()}
    decays = {names[id(weight)]: group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]}
    assert len(decays) == len(names)
    for name, decay in decays.items():
        assert decay == (0.0 if "LayerNorm" in name or name.endswith("bias") else 0.1), name


def test_a_line_every_log_every_updates_and_at_the_end(settings):
    run, _ = do_train(settings, max_steps=7, log_every=3)
    lines = log_of(run)
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert set(lines[0]) == {
        "step",
        "epoch",
        "loss",
        "learning_rate",
        "grad_norm",
        "examples_per_s",
        "tokens_per_s",
        "skipped",
        "seconds",
    }
    assert [line["epoch"] for line in lines] == [0.6, 1.2, 1.4]
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=0.3)


def test_scores_and_checkpoints_come_when_the_settings_say(settings):
    run, _ = do_train(settings, max_steps=7, logging_steps=2, save_steps=3, save_total_limit=-1)
    assert run.checkpoints() == [3, 6, 7]
    assert sorted(run.history.scores) == [2, 3, 4, 6, 7]
    cost = json.loads((run.folder / "cost.json").read_text())
    assert set(cost) == {
            "preparation_seconds", "training_seconds", "evaluation_seconds", "peak_memory_bytes", "tokens_per_s",
            "skipped_updates", "device",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "saves", "changes", "expected"),
    [
        (True, False, {}, ["dev", "test"]),  # no dev file: test it is
        (True, False, {"dev_file": "dev"}, ["dev"]),
        (True, False, {"dev_file": "dev", "evaluate_test_during_training": True}, ["dev", "test"]),
        (False, True, {"dev_file": "dev"}, ["dev", "test"]),
        (False, True, {"dev_file": "dev", "eval_all_checkpoints": False}, ["dev"]),
        (False, True, {"dev_file": "dev", "do_eval": False}, ["dev"]),
        (True, True, {"do_eval": False}, ["dev"]),  # test is left alone
    ],
)
def test_what_is_scored_when(settings, scores, saves, changes, expected):
    base = {"dev_file": "", "evaluate_test_during_training": False}
    assert due_splits(scores, saves, settings(**base | changes)) == expected


def test_the_optimizer_s_state_is_saved_where_asked(settings):
    run, model = do_train(settings, save_optimizer=True)
    state = load_file(run.checkpoint_folder(5) / "optimizer.safetensors")
    assert len(state) == 3 * len(list(model.parameters()))
    assert state["classifier.dense.weight.exp_avg"].shape == model.classifier.dense.weight.shape
    run, _ = do_train(settings)
    assert not (run.checkpoint_folder(5) / "optimizer.safetensors").exists()


def sick_model(*bad_updates):
    """A small model whose loss is no number in the given updates, and a list that grows with every one of its batches."""
    calls = []

    class Sick(type(small_model())):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            calls.append(1)
            if self.training and (len(calls) + 1) // 2 in bad_updates:  # two batches to an update
                output.logits = output.logits * float("nan")
            return output

    model = small_model()
    model.__class__ = Sick
    return model, calls


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(settings):
    """The third update meets a NaN; the look comes at the fifth update, before anything is saved."""
    model, calls = sick_model(3)
    with pytest.raises(NumbersError, match="step 3: the loss or the gradient is not a finite number"):
        do_train(settings, model=model, log_every=50)
    assert len(calls) == 10
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_a_bad_update_can_be_skipped(settings, caplog):
    """It leaves weights and optimizer alone, counts in the schedule, and not in the mean loss."""
    with caplog.at_level("WARNING"):
        run, model = do_train(settings, model=sick_model(3)[0], log_every=5, on_nonfinite="skip", warmup_proportion=1)
    assert "1 of the 5 updates up to step 5 were not finite and are skipped" in caplog.text
    assert log_of(run)[0]["skipped"] == json.loads((run.folder / "cost.json").read_text())["skipped_updates"] == 1
    assert math.isfinite(log_of(run)[0]["loss"])
    assert log_of(run)[0]["learning_rate"] == pytest.approx(0.008)
    _, whole = do_train(settings, log_every=5, warmup_proportion=1)
    moved = [torch.equal(one, other) for one, other in zip(model.parameters(), whole.parameters(), strict=True)]
    assert not any(moved)


def test_a_skipped_update_leaves_the_weights_and_the_optimizer_as_they_were(settings):
    accelerator = Accelerator(cpu=True)
    model = small_model()
    model, optimizer = accelerator.prepare(model, make_optimizer(model, settings()))
    batch = task_model(model).collate(RandomSplit(4).features, np.arange(4))

    def update(batch):
        return step(model, accumulate(task_model(model), [batch], accelerator), optimizer, accelerator, 1.0)

    assert update(batch).fine
    before = [weight.clone() for weight in [*model.parameters(), *(s["exp_avg"] for s in optimizer.optimizer.state.values())]]
    bad = update(replace(batch, items=0))  # the loss over no items
    assert not bad.fine
    after = [*model.parameters(), *(state["exp_avg"] for state in optimizer.optimizer.state.values())]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert {int(state["step"]) for state in optimizer.optimizer.state.values()} == {1}
    assert update(batch).fine
    assert not torch.equal(before[0], next(iter(model.parameters())))


@pytest.mark.parametrize(("bad", "stops"), [(range(2, 11), False), (range(2, 12), True)])
def test_ten_bad_updates_in_a_row_are_not_borne(settings, bad, stops):
    options = {"model": sick_model(*bad)[0], "max_steps": 12, "on_nonfinite": "skip", "log_every": 50}
    if not stops:
        assert log_of(do_train(settings, **options)[0])[0]["skipped"] == 9
        return
    with pytest.raises(NumbersError, match=r"step 11: .* nor are those of the 9 updates before it"):
        do_train(settings, **options)


def test_a_gradient_that_overflows_counts_as_bad():
    meter = Meter(CPU, 0)
    fine, inf = torch.tensor(1.0), torch.tensor(math.inf)
    meter.add(1, Update(fine, fine, torch.tensor(True)), 4, 40)
    meter.check()
    meter.add(2, Update(fine, inf, torch.tensor(False)), 4, 40)
    meter.add(3, Update(fine, inf, torch.tensor(False)), 4, 40)
    with pytest.raises(NumbersError, match="step 2"):
        meter.check()


def test_the_meter_counts_training_time_alone():
    meter = Meter(CPU, 0)
    meter.add(1, Update(torch.tensor(2.0), torch.tensor(1.0), torch.tensor(True)), rows=4, tokens=40)
    meter.add(2, Update(torch.tensor(4.0), torch.tensor(0.5), torch.tensor(True)), rows=4, tokens=60)
    meter.stop_clock()
    spent = meter.total_seconds
    time.sleep(0.05)  # an evaluation
    meter.stop_clock()  # as saving does
    assert meter.total_seconds == spent
    meter.start_clock()
    time.sleep(0.01)
    reading = meter.read()
    assert (reading["loss"], reading["grad_norm"]) == (3.0, 0.5)
    assert meter.total_tokens == 100
    assert spent + 0.01 <= meter.total_seconds < spent + 0.05


def test_a_window_without_a_good_update_has_no_loss():
    meter = Meter(CPU, 9)
    nan = torch.tensor(math.nan)
    meter.add(1, Update(torch.tensor(2.0), torch.tensor(1.0), torch.tensor(True)), 4, 40)
    meter.add(2, Update(nan, nan, torch.tensor(False)), 4, 40)
    assert (meter.read()["loss"], meter.read()["grad_norm"], meter.read()["skipped"]) == (2.0, 1.0, 1)
    meter.clear()
    meter.add(3, Update(nan, nan, torch.tensor(False)), 4, 40)
    assert (meter.read()["loss"], meter.read()["grad_norm"]) == (None, None)


def test_gradients_that_never_fit_into_fp16_stop_the_run():
    """The scaler skips such updates by itself; it must not do so for ever."""
    meter = Meter(CPU, BEARABLE_IN_FP16)
    for number in range(1, 32):
        meter.check()
        meter.add(number, Update(torch.tensor(1.0), torch.tensor(math.inf), torch.tensor(False)), 4, 40)
    with pytest.raises(NumbersError, match=r"step 31: .* nor are those of the 30 updates before it"):
        meter.check()


def crowded_model(rows):
    """A small model whose memory holds no more than so many rows at a time."""

    class Crowded(type(small_model())):
        def forward(self, *args, **kwargs):
            if len(kwargs["input_ids"]) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
            return super().forward(*args, **kwargs)

    model = small_model()
    model.__class__ = Crowded
    return model


def test_a_batch_that_does_not_fit_is_split_for_the_same_updates(settings, caplog):
    calm = {"adam_epsilon": 1e-3, "train_batch_size": 10}
    _, whole = do_train(settings, **calm)
    with caplog.at_level("WARNING"):
        run, split = do_train(settings, model=crowded_model(3), **calm)
    assert [record.getMessage()[-40:] for record in caplog.records if "memory is full" in record.message] == [
        "a batch is taken in 4 parts, for the same updates"[-40:]  # two to begin with, on a CPU
    ]
    for one, other in zip(whole.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    assert run.history.has(2, "test")  # evaluation splits its batches, too


def test_a_row_that_does_not_fit_ends_the_run(settings):
    with pytest.raises(torch.OutOfMemoryError):
        do_train(settings, model=crowded_model(0))
