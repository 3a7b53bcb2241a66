"""The training loop shared by all tasks: batches, updates, schedule, and when to score and to save."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers import get_linear_schedule_with_warmup

from src.batches import Batch, bucketed_order, epoch_order, micro_batches
from src.checkpoint import Run
from src.device import device_name, peak_memory
from src.errors import NumbersError
from src.evaluate import Scorer, Split
from src.heads import TaskModel
from src.progress import Progress
from src.settings import Settings

logger = logging.getLogger(__name__)

# On a CPU two batches of half the size cost no more than one, and pad less.
CPU_PARTS = 2


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


class Meter:
    """What the updates since the last `clear` were like, and how long training took in all.

    Losses and the finite check stay on the device: `add` does not wait for it, `check` and `read` do.
    """

    def __init__(self, device: torch.device, check_gradients: bool) -> None:
        self.device, self.check_gradients = device, check_gradients
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=device)
        self.total_seconds, self.total_tokens = 0.0, 0
        self.clear()
        self.start_clock()

    def clear(self) -> None:
        """Start a new window."""
        self.updates, self.rows, self.tokens, self.seconds = 0, 0, 0, 0.0
        self.loss = torch.zeros((), device=self.device)
        self.grad_norm = torch.zeros((), device=self.device)

    def start_clock(self) -> None:
        """From here on time is training time."""
        self.started = time.monotonic()

    def stop_clock(self) -> None:
        """Until start_clock() time is not training time."""
        spent = time.monotonic() - self.started
        self.seconds, self.total_seconds = self.seconds + spent, self.total_seconds + spent
        self.start_clock()

    def add(self, step: int, loss: Tensor, grad_norm: Tensor, rows: int, tokens: int) -> None:
        """Count the update that led to `step`. loss, grad_norm: scalars on the device."""
        self.updates, self.rows, self.tokens = self.updates + 1, self.rows + rows, self.tokens + tokens
        self.total_tokens += tokens
        self.loss += loss
        self.grad_norm = grad_norm
        fine = torch.isfinite(loss) & torch.isfinite(grad_norm) if self.check_gradients else torch.isfinite(loss)
        self.first_bad = torch.where((self.first_bad < 0) & ~fine, step, self.first_bad)

    def check(self) -> None:
        """Raise NumbersError where an update's loss or gradient was not finite, naming the first such step."""
        if (step := int(self.first_bad)) >= 0:
            raise NumbersError(
                f"step {step}: the loss or the gradient is not a finite number. The checkpoints before it are good. "
                "Try a smaller --learning_rate, or --mixed_precision no."
            )

    def read(self) -> dict[str, float]:
        """Mean loss, last grad_norm, examples_per_s and tokens_per_s of the window; `seconds` of training in all."""
        self.check()
        self.stop_clock()
        seconds = max(self.seconds, 1e-9)
        return {
            "loss": float(self.loss) / max(self.updates, 1),
            "grad_norm": float(self.grad_norm),
            "examples_per_s": round(self.rows / seconds, 1),
            "tokens_per_s": round(self.tokens / seconds, 1),
            "seconds": round(self.total_seconds, 3),
        }

    def cost(self) -> dict[str, float | str]:
        """What training has cost in all, for cost.json."""
        return {
            "training_seconds": round(self.total_seconds, 3),
            "peak_memory_bytes": peak_memory(self.device),
            "tokens_per_s": round(self.total_tokens / max(self.total_seconds, 1e-9), 1),
            "device": device_name(self.device),
        }


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
    plan = Plan.of(len(split), settings)
    optimizer = make_optimizer(task_model.model, settings)
    schedule = get_linear_schedule_with_warmup(optimizer, int(settings.warmup_proportion * plan.total), plan.total)
    model, optimizer = accelerator.prepare(task_model.model, optimizer)
    task_model = replace(task_model, model=model)
    logger.info("training: %s rows, %d updates, %d to an epoch", f"{len(split):,}", plan.total, plan.updates_per_epoch)

    # fp16 overflows now and then, and the scaler skips such an update: only then is a gradient allowed not to be finite.
    meter = Meter(accelerator.device, check_gradients=accelerator.mixed_precision != "fp16")
    progress = Progress("step", plan.total)
    lengths = split.features.lengths
    parts = CPU_PARTS if accelerator.device.type == "cpu" and settings.padding == "none" else 1
    model.train()
    for step in range(1, plan.total + 1):
        epoch, position = divmod(step - 1, plan.updates_per_epoch)
        if position == 0:
            order = epoch_order(len(split), settings.seed, epoch)
            if settings.batching == "bucketed":
                order = bucketed_order(order, lengths, plan.rows_per_update, settings.seed, epoch)
        rows = order[position * plan.rows_per_update : (position + 1) * plan.rows_per_update]
        learning_rate = schedule.get_last_lr()[0]
        batches = [
            task_model.collate(split.features, part) for part in micro_batches(rows, lengths, settings.train_batch_size, parts)
        ]
        loss, grad_norm = update(task_model, batches, optimizer, accelerator, settings.max_grad_norm)
        schedule.step()
        meter.add(step, loss, grad_norm, len(rows), sum(batch.tokens for batch in batches))

        last = step == plan.total
        if progress.due():
            now = meter.read()
            progress.show(step, f"loss {now['loss']:.4f}, lr {learning_rate:.2e}, {now['examples_per_s']:.0f} examples/s")
        if last or step % settings.log_every == 0:
            epochs = round(step / plan.updates_per_epoch, 4)
            run.log({"step": step, "epoch": epochs, "learning_rate": learning_rate, **meter.read()})
            meter.clear()
        saves = last or step % settings.save_steps == 0
        scores = step % settings.logging_steps == 0
        if scores or saves:
            meter.check()
            meter.stop_clock()
            scorer.score(task_model, step, due_splits(scores, saves, settings))
            if saves:
                run.save_checkpoint(step, lambda folder: _save(folder, save, optimizer, model, settings.save_optimizer))
                run.prune()
            meter.start_clock()
    progress.close()
    run.finish_training(meter.cost())


def update(
    task_model: TaskModel, batches: Sequence[Batch], optimizer: Optimizer, accelerator: Accelerator, max_grad_norm: float
) -> tuple[Tensor, Tensor]:
    """One update of the weights; its loss and the norm of its gradient before clipping, scalars on the device.

    The gradient is that of the sum of all items' losses over their number, however many batches they come in.
    """
    items = sum(batch.items for batch in batches)
    total = torch.zeros((), device=accelerator.device)
    for batch in batches:
        loss = task_model.head.summed_loss(task_model.logits(batch), batch.labels) / items
        accelerator.backward(loss)
        total += loss.detach()
    grad_norm = accelerator.clip_grad_norm_(task_model.model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return total, grad_norm


def due_splits(scores: bool, saves: bool, settings: Settings) -> list[str]:
    """The splits to score at a step that is at logging_steps (`scores`) or is saved (`saves`).

    A saved checkpoint is scored on dev to choose among them, and, where all are to be scored on test, at once: its weights are
    at hand, and pruning needs to know. Without do_eval test is left alone.
    """
    during = scores and (settings.evaluate_test_during_training or not settings.has_dev)
    on_test = settings.do_eval and (during or (saves and settings.eval_all_checkpoints))
    return ["dev", "test"] if on_test else ["dev"]


def _save(folder: Path, save: Callable[[Path], None], optimizer: Optimizer, model: nn.Module, with_optimizer: bool) -> None:
    save(folder)
    if with_optimizer:
        states = {
            f"{name}.{key}": value for name, weight in model.named_parameters() for key, value in optimizer.state[weight].items()
        }
        save_file(states, folder / "optimizer.safetensors")
