"""A training, one update after the other: batches, gradients, optimizer, schedule. When to score and to save is src.train's."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import get_linear_schedule_with_warmup

from src.batches import Batch, bucketed_order, epoch_order, micro_batches
from src.data import Features
from src.heads import TaskModel
from src.meter import BEARABLE, BEARABLE_IN_FP16, Meter, Update
from src.settings import Settings

logger = logging.getLogger(__name__)

# On a CPU two batches of half the size cost no more than one, and pad less where rows of all lengths meet.
CPU_PARTS = {"shuffled": 2, "bucketed": 1}


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


class TrainState:
    """A training under way: model, optimizer and schedule, the step they have come to, and what it was like so far."""

    def __init__(self, task_model: TaskModel, features: Features, settings: Settings, accelerator: Accelerator) -> None:
        self.features, self.settings, self.accelerator = features, settings, accelerator
        self.plan = Plan.of(len(features), settings)
        optimizer = make_optimizer(task_model.model, settings)
        warm_up = int(settings.warmup_proportion * self.plan.total)
        self.schedule = get_linear_schedule_with_warmup(optimizer, warm_up, self.plan.total)
        model, self.optimizer = accelerator.prepare(task_model.model, optimizer)
        self.task_model = replace(task_model, model=model)
        self.meter = Meter(
            accelerator.device, BEARABLE[settings.on_nonfinite] if accelerator.scaler is None else BEARABLE_IN_FP16
        )
        splits = accelerator.device.type == "cpu" and settings.padding == "none"
        self.parts = CPU_PARTS[settings.batching] if splits else 1
        self.step = 0
        self.lengths = features.lengths  # of every row: worked out once
        self.order = np.empty(0, np.int64)  # of the rows in this epoch
        model.train()

    @property
    def learning_rate(self) -> float:
        """That of the next update."""
        return float(self.schedule.get_last_lr()[0])

    def advance(self) -> None:
        """One update more. Where the GPU's memory does not hold its batches, they come in more parts from now on."""
        rows = self._next_rows()
        loss, tokens = self._accumulate(rows)
        done = step(self.task_model.model, loss, self.optimizer, self.accelerator, self.settings.max_grad_norm)
        self.schedule.step()
        self.step += 1
        self.meter.add(self.step, done, len(rows), tokens)

    def _accumulate(self, rows: np.ndarray) -> tuple[Tensor, int]:
        """Add the gradients of an update up; its loss, and how many tokens it has."""
        while True:
            parts = micro_batches(rows, self.lengths, self.settings.train_batch_size, self.parts)
            batches = [self.task_model.collate(self.features, part) for part in parts]
            try:
                return accumulate(self.task_model, batches, self.accelerator), sum(batch.tokens for batch in batches)
            except torch.OutOfMemoryError:
                if all(len(batch.inputs["input_ids"]) == 1 for batch in batches):
                    raise
                self.optimizer.zero_grad()
                self.parts *= 2
                logger.warning("the GPU's memory is full: a batch is taken in %d parts, for the same updates", self.parts)
            torch.cuda.empty_cache()

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizer's state by the names of the weights: `<weight>.exp_avg`, `.exp_avg_sq`, `.step`."""
        weights = self.task_model.model.named_parameters()
        return {f"{name}.{key}": value for name, weight in weights for key, value in self.optimizer.state[weight].items()}

    def _next_rows(self) -> np.ndarray:
        epoch, position = divmod(self.step, self.plan.updates_per_epoch)
        if position == 0 or not len(self.order):
            seed, size = self.settings.seed, self.plan.rows_per_update
            self.order = epoch_order(len(self.features), seed, epoch)
            if self.settings.batching == "bucketed":
                self.order = bucketed_order(self.order, self.lengths, size, seed, epoch)
        return self.order[position * self.plan.rows_per_update : (position + 1) * self.plan.rows_per_update]


def accumulate(task_model: TaskModel, batches: Sequence[Batch], accelerator: Accelerator) -> Tensor:
    """Add the gradient of an update up, and return its loss, a scalar on the device.

    It is that of the sum of all items' losses over their number, however many batches they come in.
    """
    items = sum(batch.items for batch in batches)
    total = torch.zeros((), device=accelerator.device)
    for batch in batches:
        loss = task_model.head.summed_loss(task_model.logits(batch), batch.labels) / items
        accelerator.backward(loss)
        total += loss.detach()
    return total


def step(
    model: nn.Module, loss: Tensor, optimizer: AcceleratedOptimizer, accelerator: Accelerator, max_grad_norm: float
) -> Update:
    """Move the weights along the gradient, or leave them as they are where it or the loss is not finite; clears the gradient."""
    grad_norm = accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    fine = torch.isfinite(loss) & torch.isfinite(grad_norm)
    if accelerator.scaler is None:  # else that skips the update, by the gradient alone
        optimizer.optimizer.found_inf = (~fine).float()  # fused AdamW reads it on the device
    optimizer.step()
    optimizer.zero_grad()
    return Update(loss, grad_norm, fine)
