import json
import math

import pytest
import torch
from safetensors.torch import load_file

from src.common.errors import NumbersError
from src.training.loop import splits_to_score
from src.training.order import epoch_order
from tests.src.helpers import (
    CPU_MEMORY,
    GPU_MEMORY,
    RandomSplit,
    limited_model,
    log_of,
    model_with_nan,
    small_model,
    task_model,
    train_small,
)


def assert_same_weights(one, other):
    for weight, expected in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-4)


def test_max_steps_makes_exactly_that_many_updates(settings):
    run, _ = train_small(settings, max_steps=7)
    assert [line["step"] for line in log_of(run)] == [1, 2, 3, 4, 5, 6, 7]
    assert run.checkpoints() == [7]


def test_the_schedule_is_linear_with_warmup(settings):
    run, _ = train_small(settings, max_steps=10, warmup_proportion=0.2)
    expected = [0.0, 0.005, 0.01, 0.00875, 0.0075, 0.00625, 0.005, 0.00375, 0.0025, 0.00125]
    assert [line["learning_rate"] for line in log_of(run)] == pytest.approx(expected)


@pytest.mark.parametrize(("batch", "accumulation"), [(4, 3), (6, 2), (2, 6)])
def test_an_update_does_not_depend_on_how_it_is_split(settings, batch, accumulation):
    """20 rows in updates of 12: the second one is a tail of 8 rows, which must count in full."""
    options = {"adam_epsilon": 1e-3}  # with the default, AdamW scales rounding errors of tiny gradients up to the learning rate
    _, whole = train_small(settings, train_batch_size=12, **options)
    _, split = train_small(settings, train_batch_size=batch, gradient_accumulation_steps=accumulation, **options)
    assert_same_weights(split, whole)


def test_the_weights_equal_those_of_a_handwritten_loop(settings):
    """Six updates over two epochs, with clipping that has an effect and an epsilon at which the size of a gradient matters."""
    changes = {"num_train_epochs": 2, "adam_epsilon": 1e-3, "max_grad_norm": 0.05, "warmup_proportion": 0.5, "weight_decay": 0.1}
    run, trained = train_small(settings, rows=11, **changes)
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
            rate = next(rates)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = task_model(model).collate(split.features, rows)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
    assert_same_weights(trained, model)


def test_the_same_run_gives_the_same_bits(settings):
    first, one = train_small(settings, model=small_model(dropout=0.1), num_train_epochs=2)
    losses = [line["loss"] for line in log_of(first)]
    second, other = train_small(settings, model=small_model(dropout=0.1), num_train_epochs=2)
    assert [line["loss"] for line in log_of(second)] == losses
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_logs_every_log_every_updates_and_at_the_end(settings):
    run, _ = train_small(settings, max_steps=7, log_every=3)
    lines = log_of(run)
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert set(lines[0]) == {
        "step", "epoch", "loss", "learning_rate", "grad_norm", "examples_per_s", "tokens_per_s", "skipped", "seconds",
    }  # fmt: skip
    assert [line["epoch"] for line in lines] == [0.6, 1.2, 1.4]
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=0.3)


def test_scores_and_saves_when_the_settings_ask_for_it(settings):
    run, _ = train_small(settings, max_steps=7, logging_steps=2, save_steps=3, save_total_limit=-1)
    assert run.checkpoints() == [3, 6, 7]
    assert sorted(run.history.scores) == [2, 3, 4, 6, 7]
    assert (run.checkpoint_folder(3) / "vocab.txt").is_file()
    cost = json.loads((run.folder / "cost.json").read_text())
    assert set(cost) == {
            "preparation_seconds", "training_seconds", "evaluation_seconds", "peak_memory_bytes", "tokens_per_s",
            "skipped_updates", "device",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "saves", "changes", "expected"),
    [
        (True, False, {}, ["dev", "test"]),  # test, as there is no dev file
        (True, False, {"dev_ratio": 0.5}, ["dev"]),
        (True, False, {"dev_ratio": 0.5, "evaluate_test_during_training": True}, ["dev", "test"]),
        (False, True, {"dev_ratio": 0.5}, ["dev", "test"]),
        (False, True, {"dev_ratio": 0.5, "eval_all_checkpoints": False}, ["dev"]),
        (False, True, {"dev_ratio": 0.5, "do_eval": False}, ["dev"]),
        (True, True, {"do_eval": False}, ["dev"]),  # never test
    ],
)
def test_splits_to_score(settings, scores, saves, changes, expected):
    base = {"dev_file": "", "evaluate_test_during_training": False}
    assert splits_to_score(scores, saves, settings(**base | changes)) == expected


def test_save_optimizer_adds_its_tensors_to_checkpoints(settings):
    run, model = train_small(settings, save_optimizer=True)
    tensors = load_file(run.checkpoint_folder(5) / "optimizer.safetensors")
    assert len(tensors) == 3 * len(list(model.parameters()))
    assert tensors["classifier.dense.weight.exp_avg"].shape == model.classifier.dense.weight.shape
    run, _ = train_small(settings)
    assert not (run.checkpoint_folder(5) / "optimizer.safetensors").exists()


def test_a_nonfinite_loss_stops_the_run_and_names_the_step(settings):
    """The third update meets a NaN; it is noticed at the fifth, before anything is saved."""
    model, calls = model_with_nan(3)
    with pytest.raises(NumbersError, match="step 3:"):
        train_small(settings, model=model, log_every=50)
    assert len(calls) == 10
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_skips_a_nonfinite_update(settings, caplog):
    """It affects neither weights nor optimizer nor the mean loss, but counts in the schedule."""
    with caplog.at_level("WARNING"):
        run, model = train_small(settings, model=model_with_nan(3)[0], log_every=5, on_nonfinite="skip", warmup_proportion=1)
    assert "1 of the 5 updates up to step 5" in caplog.text
    assert log_of(run)[0]["skipped"] == json.loads((run.folder / "cost.json").read_text())["skipped_updates"] == 1
    assert math.isfinite(log_of(run)[0]["loss"])
    assert log_of(run)[0]["learning_rate"] == pytest.approx(0.008)
    _, whole = train_small(settings, log_every=5, warmup_proportion=1)
    assert not any(torch.equal(one, other) for one, other in zip(model.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize(("nan_updates", "stops"), [(range(2, 11), False), (range(2, 12), True)])
def test_stops_after_ten_nonfinite_updates_in_a_row(settings, nan_updates, stops):
    options = {"model": model_with_nan(*nan_updates)[0], "max_steps": 12, "on_nonfinite": "skip", "log_every": 50}
    if not stops:
        assert log_of(train_small(settings, **options)[0])[0]["skipped"] == 9
        return
    with pytest.raises(NumbersError, match=r"step 11:.* 9 updates before it"):
        train_small(settings, **options)


@pytest.mark.parametrize("error", [GPU_MEMORY, CPU_MEMORY, MemoryError()])
def test_splits_a_batch_that_does_not_fit_for_the_same_updates(settings, caplog, error):
    options = {"adam_epsilon": 1e-3, "train_batch_size": 10}
    _, whole = train_small(settings, **options)
    with caplog.at_level("WARNING"):
        run, split = train_small(settings, model=limited_model(3, error)[0], **options)
    messages = [record.getMessage() for record in caplog.records if "memory" in record.message]
    assert len(messages) == 1 and "4 micro-batches" in messages[0]  # it starts with two, on a CPU
    assert_same_weights(split, whole)
    assert run.history.has(2, "test")  # evaluation splits its batches, too


def test_a_row_that_does_not_fit_ends_the_run(settings):
    with pytest.raises(torch.OutOfMemoryError):
        train_small(settings, model=limited_model(0)[0])
