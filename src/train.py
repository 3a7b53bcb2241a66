"""The training loop shared by all tasks: batches, updates, schedule, and when to score and to save."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import get_linear_schedule_with_warmup

from src.batches import Batch, Features, bucketed_order, epoch_order, micro_batches
from src.checkpoint import Run
from src.device import device_name, peak_memory
from src.errors import NumbersError
from src.evaluate import Scorer, Split
from src.heads import TaskModel
from src.progress import Progress
from src.settings import Settings

logger = logging.getLogger(__name__)

# On a CPU two batches of half the size cost no more than one, and pad less where rows of all lengths meet.
CPU_PARTS = {"shuffled": 2, "bucketed": 1}

# on_nonfinite -> how many updates in a row may come to no finite number.
BEARABLE = {"stop": 0, "skip": 9}


@dataclass(frozen=True)
class Plan:
    """How many rows make an update, how many updates an epoch, how many the run."""

    rows_per_update: int
    updates_per_epoch: int
    total: int

    @classmethod
    def of(cls, rows: int, settings: Settings) -> "Plan":
        """The plan for a training split of `rows` rows; the tail of an epoch is an update too."""
        rows_per_update = settings.train_batch_size * settings.gradient_accumulation_steps
        updates_per_epoch = math.ceil(rows / rows_per_update)
        by_epochs = math.ceil(settings.num_train_epochs * updates_per_epoch - 1e-9)  # 1.1 * 100 is 110.00000000000001
        return cls(rows_per_update, updates_per_epoch, by_epochs if settings.max_steps < 0 else settings.max_steps)


def make_optimizer(model: nn.Module, settings: Settings) -> AdamW:
    """AdamW, fused; vectors (biases and the weights of norms) do not decay."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=settings.learning_rate, eps=settings.adam_epsilon, fused=True)


@dataclass(frozen=True)
class Update:
    """What one update was like, scalars on the device: loss, norm of the gradient before clipping, whether both are finite."""

    loss: Tensor
    grad_norm: Tensor
    fine: Tensor  # bool; where it is not, the weights stayed as they were


class Meter:
    """What the updates since the last `clear` were like, and how long training took in all.

    Losses and the finite check stay on the device: `add` does not wait for it, `check` and `read` do.
    """

    def __init__(self, device: torch.device, on_nonfinite: str) -> None:
        self.device, self.bearable = device, BEARABLE[on_nonfinite]
        self.total_seconds, self.total_tokens = 0.0, 0
        self.total_skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros((), dtype=torch.int64, device=device)
        self.unbearable = torch.full((), -1, dtype=torch.int64, device=device)  # the step at which too many were in a row
        self.clear()
        self.start_clock()

    def clear(self) -> None:
        """Start a new window."""
        self.updates, self.rows, self.tokens, self.seconds = 0, 0, 0, 0.0
        self.loss = torch.zeros((), device=self.device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=self.device)
        self.grad_norm = torch.zeros((), device=self.device)

    def start_clock(self) -> None:
        """From here on time is training time."""
        self.started = time.monotonic()

    def stop_clock(self) -> None:
        """Until start_clock() time is not training time."""
        spent = time.monotonic() - self.started
        self.seconds, self.total_seconds = self.seconds + spent, self.total_seconds + spent
        self.start_clock()

    def add(self, step: int, update: Update, rows: int, tokens: int) -> None:
        """Count the update that led to `step`, or would have."""
        self.updates, self.rows, self.tokens = self.updates + 1, self.rows + rows, self.tokens + tokens
        self.total_tokens += tokens
        self.loss += torch.where(update.fine, update.loss, 0.0)
        self.grad_norm = update.grad_norm
        self.skipped += ~update.fine
        self.total_skipped += ~update.fine
        self.in_a_row = torch.where(update.fine, 0, self.in_a_row + 1)
        self.unbearable = torch.where((self.unbearable < 0) & (self.in_a_row > self.bearable), step, self.unbearable)

    def check(self) -> None:
        """Raise NumbersError where more updates in a row than are bearable were not finite, naming the step."""
        if (step := int(self.unbearable)) >= 0:
            others = f", nor are those of the {self.bearable} updates before it" if self.bearable else ""
            raise NumbersError(
                f"step {step}: the loss or the gradient is not a finite number{others}. No such update reached the weights, "
                "and the checkpoints are good. Try a smaller --learning_rate, or --mixed_precision no."
            )

    def read(self) -> dict[str, float]:
        """Of the window: mean loss, last grad_norm, examples_per_s, tokens_per_s, skipped updates; `seconds` of all training."""
        self.check()
        self.stop_clock()
        seconds, skipped = max(self.seconds, 1e-9), int(self.skipped)
        return {
            "loss": float(self.loss) / max(self.updates - skipped, 1),
            "grad_norm": float(self.grad_norm),
            "examples_per_s": round(self.rows / seconds, 1),
            "tokens_per_s": round(self.tokens / seconds, 1),
            "skipped": skipped,
            "seconds": round(self.total_seconds, 3),
        }

    def cost(self) -> dict[str, float | str]:
        """What training has cost in all, for cost.json."""
        return {
            "training_seconds": round(self.total_seconds, 3),
            "peak_memory_bytes": peak_memory(self.device),
            "tokens_per_s": round(self.total_tokens / max(self.total_seconds, 1e-9), 1),
            "skipped_updates": int(self.total_skipped),
            "device": device_name(self.device),
        }


class Training:
    """A training under way: model, optimizer and schedule, the step they have come to, and what it was like so far."""

    def __init__(self, task_model: TaskModel, features: Features, settings: Settings, accelerator: Accelerator) -> None:
        self.features, self.settings, self.accelerator = features, settings, accelerator
        self.plan = Plan.of(len(features), settings)
        optimizer = make_optimizer(task_model.model, settings)
        warm_up = int(settings.warmup_proportion * self.plan.total)
        self.schedule = get_linear_schedule_with_warmup(optimizer, warm_up, self.plan.total)
        model, self.optimizer = accelerator.prepare(task_model.model, optimizer)
        self.task_model = replace(task_model, model=model)
        self.meter = Meter(accelerator.device, settings.on_nonfinite)
        splits = accelerator.device.type == "cpu" and settings.padding == "none"
        self.parts = CPU_PARTS[settings.batching] if splits else 1
        self.step = 0
        self.order = np.empty(0, np.int64)  # of the rows in this epoch
        model.train()

    @property
    def learning_rate(self) -> float:
        """That of the next update."""
        return float(self.schedule.get_last_lr()[0])

    def advance(self) -> None:
        """One update more."""
        rows = self._next_rows()
        lengths = self.features.lengths
        parts = micro_batches(rows, lengths, self.settings.train_batch_size, self.parts)
        batches = [self.task_model.collate(self.features, part) for part in parts]
        done = update(self.task_model, batches, self.optimizer, self.accelerator, self.settings.max_grad_norm)
        self.schedule.step()
        self.step += 1
        self.meter.add(self.step, done, len(rows), sum(batch.tokens for batch in batches))

    def _next_rows(self) -> np.ndarray:
        epoch, position = divmod(self.step, self.plan.updates_per_epoch)
        if position == 0 or not len(self.order):
            seed, size = self.settings.seed, self.plan.rows_per_update
            self.order = epoch_order(len(self.features), seed, epoch)
            if self.settings.batching == "bucketed":
                self.order = bucketed_order(self.order, self.features.lengths, size, seed, epoch)
        return self.order[position * self.plan.rows_per_update : (position + 1) * self.plan.rows_per_update]


def train(
    task_model: TaskModel,
    split: Split,
    settings: Settings,
    accelerator: Accelerator,
    run: Run,
    scorer: Scorer,
    save: Callable[[Path], None],
) -> None:
    """Fine-tune `task_model` on `split`, scoring and saving on the way as the settings say, and write cost.json.

    `save` writes the model and its tokenizer into a folder. Raises NumbersError where the loss or a gradient is not finite.
    """
    training = Training(task_model, split.features, settings, accelerator)
    plan, meter = training.plan, training.meter
    logger.info("training: %s rows, %d updates, %d to an epoch", f"{len(split):,}", plan.total, plan.updates_per_epoch)
    progress = Progress("step", plan.total)
    while training.step < plan.total:
        learning_rate = training.learning_rate
        training.advance()
        step = training.step
        last = step == plan.total
        if progress.due():
            now = meter.read()
            progress.show(step, f"loss {now['loss']:.4f}, lr {learning_rate:.2e}, {now['examples_per_s']:.0f} examples/s")
        if last or step % settings.log_every == 0:
            _log(run, training, learning_rate)
        saves = last or step % settings.save_steps == 0
        scores = step % settings.logging_steps == 0
        if scores or saves:
            meter.check()
            meter.stop_clock()
            scorer.score(training.task_model, step, due_splits(scores, saves, settings))
            if saves:
                run.save_checkpoint(step, lambda folder: _save(folder, save, training, settings.save_optimizer))
                run.prune()
            meter.start_clock()
    progress.close()
    run.finish_training(meter.cost())


def update(
    task_model: TaskModel,
    batches: Sequence[Batch],
    optimizer: AcceleratedOptimizer,
    accelerator: Accelerator,
    max_grad_norm: float,
) -> Update:
    """One update of the weights, which stay as they are where the loss or the gradient is not finite.

    The gradient is that of the sum of all items' losses over their number, however many batches they come in.
    """
    items = sum(batch.items for batch in batches)
    total = torch.zeros((), device=accelerator.device)
    for batch in batches:
        loss = task_model.head.summed_loss(task_model.logits(batch), batch.labels) / items
        accelerator.backward(loss)
        total += loss.detach()
    grad_norm = accelerator.clip_grad_norm_(task_model.model.parameters(), max_grad_norm)
    fine = torch.isfinite(total)
    if accelerator.scaler is None:
        fine &= torch.isfinite(grad_norm)
        optimizer.optimizer.found_inf = (~fine).float()  # fused AdamW reads it on the device
    # else gradients in fp16 overflow now and then: the scaler sees to it that such an update does not count, nor a bad loss's
    optimizer.step()
    optimizer.zero_grad()
    return Update(total, grad_norm, fine)


def due_splits(scores: bool, saves: bool, settings: Settings) -> list[str]:
    """The splits to score at a step that is at logging_steps (`scores`) or is saved (`saves`).

    A saved checkpoint is scored on dev to choose among them, and, where all are to be scored on test, at once: its weights are
    at hand, and pruning needs to know. Without do_eval test is left alone.
    """
    during = scores and (settings.evaluate_test_during_training or not settings.has_dev)
    on_test = settings.do_eval and (during or (saves and settings.eval_all_checkpoints))
    return ["dev", "test"] if on_test else ["dev"]


def _log(run: Run, training: Training, learning_rate: float) -> None:
    step, meter = training.step, training.meter
    now = meter.read()
    run.log({"step": step, "epoch": round(step / training.plan.updates_per_epoch, 4), "learning_rate": learning_rate, **now})
    if now["skipped"]:
        logger.warning("%d of the %d updates up to step %d were not finite and are skipped", now["skipped"], meter.updates, step)
    meter.clear()


def _save(folder: Path, save: Callable[[Path], None], training: Training, with_optimizer: bool) -> None:
    save(folder)
    if with_optimizer:
        save_file(optimizer_tensors(training), folder / "optimizer.safetensors")


def optimizer_tensors(training: Training) -> dict[str, Tensor]:
    """The optimizer's state by the names of the weights: `<weight>.exp_avg`, `.exp_avg_sq`, `.step`."""
    weights = training.task_model.model.named_parameters()
    return {f"{name}.{key}": value for name, weight in weights for key, value in training.optimizer.state[weight].items()}
