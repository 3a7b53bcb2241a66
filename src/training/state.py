"""The state of a training: model, optimizer, schedule and step, and how one update is made. The loop is src.training.loop."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import set_seed
from safetensors.torch import save_file
from torch import Tensor, nn

from src.common import launcher
from src.data.task import Features
from src.model.batch import Batch
from src.model.device import DEVICE_TYPES, empty_cache, is_out_of_memory, random_state, set_random_state
from src.model.heads import TaskModel
from src.settings.schema import Settings
from src.training import ranks
from src.training.meter import MAX_NONFINITE_IN_A_ROW, MAX_NONFINITE_IN_A_ROW_FP16, Meter, Update
from src.training.optimizer import make_optimizer, make_schedule
from src.training.order import bucketed_order, epoch_order, items_of_rows, micro_batches, shares

logger = logging.getLogger(__name__)

# On a CPU two batches of half the size cost no more than one, and need less padding if rows of all lengths are mixed.
CPU_PARTS = {"shuffled": 2, "bucketed": 1}

# The parts of a torch schedule's state that change or depend on the settings; its other parts differ between versions.
SCHEDULE_STATE = ("last_epoch", "_step_count", "_last_lr", "base_lrs")


@dataclass(frozen=True)
class Plan:
    """Rows per update, updates per epoch, and updates in total."""

    rows_per_update: int
    updates_per_epoch: int
    total: int

    @classmethod
    def of(cls, rows: int, settings: Settings) -> "Plan":
        """Return the plan for a training split of `rows` rows; the rest at the end of an epoch is an update, too."""
        rows_per_update = settings.train_batch_size * settings.gradient_accumulation_steps
        updates_per_epoch = math.ceil(rows / rows_per_update)
        by_epochs = math.ceil(settings.num_train_epochs * updates_per_epoch - 1e-9)  # 1.1 * 100 is 110.00000000000001
        return cls(rows_per_update, updates_per_epoch, by_epochs if settings.max_steps < 0 else settings.max_steps)


class TrainState:
    """A model in training: model, optimizer, schedule, the number of updates made so far (`step`), and their measurements."""

    def __init__(self, task_model: TaskModel, features: Features, accelerator: Accelerator) -> None:
        self.features, self.accelerator = features, accelerator
        self.settings = settings = task_model.settings
        self.plan = Plan.of(len(features), settings)
        optimizer = make_optimizer(task_model.model, settings, DEVICE_TYPES[accelerator.device.type].fuses_adamw)
        self.schedule = make_schedule(optimizer, settings, self.plan.total)
        model, self.optimizer = accelerator.prepare(task_model.model, optimizer)
        self.task_model = replace(task_model, model=model)
        uses_scaler = accelerator.scaler is not None
        limit = MAX_NONFINITE_IN_A_ROW_FP16 if uses_scaler else MAX_NONFINITE_IN_A_ROW[settings.on_nonfinite]
        self.meter = Meter(accelerator.device, limit)
        splits = accelerator.device.type == "cpu" and settings.padding == "none"
        self.parts = CPU_PARTS[settings.batching] if splits else 1
        self.step = 0
        self.lengths = features.lengths  # of every row
        self.items = items_of_rows(features, task_model.collate.labels)
        self.order = np.empty(0, np.int64)  # of the rows in the current epoch
        model.train()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last update: that of the head, if those of the layers differ."""
        return float(self.schedule.base_lrs[0] * self.schedule.lr_lambdas[0](self.step - 1))

    @ranks.on_every_rank
    def advance(self) -> None:
        """Make one update. If its batches do not fit into memory, they are split further, from now on."""
        rows = self._next_rows()
        loss = self._sum_over_ranks(self._compute_gradients(rows))
        update = update_weights(self.task_model.model, loss, self.optimizer, self.accelerator, self.settings.max_grad_norm)
        self.schedule.step()
        self.step += 1
        self.meter.add(self.step, update, len(rows), int(self.lengths[rows].sum()))

    def _compute_gradients(self, rows: np.ndarray) -> Tensor:
        """Compute this rank's part of the gradients and of the loss of an update, and return the latter."""
        items, own = int(self.items[rows].sum()), self._share(rows)
        while True:
            parts = list(micro_batches(own, self.lengths, self.settings.train_batch_size, self.parts))
            loss = None
            try:
                batches = [self.task_model.collate(self.features, part) for part in parts]
                loss = accumulate(self.task_model, batches, items, self.accelerator)
            except (RuntimeError, MemoryError) as error:
                if all(len(part) == 1 for part in parts) or not is_out_of_memory(error):
                    raise
            # If memory is full on one rank, all of them start again, in as many parts.
            if not any(ranks.any_rank([loss is None])) and loss is not None:
                return loss
            self.optimizer.zero_grad()
            self.parts *= 2
            logger.warning("memory is full: splitting each batch into %d micro-batches of the same update", self.parts)
            empty_cache(self.accelerator.device)

    def _share(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of an update whose gradients this rank computes: its share of their tokens, padding included."""
        if launcher.count() == 1:
            return rows
        work = self.lengths[rows] if self.task_model.collate.length is None else np.ones(len(rows), np.int64)
        return rows[shares(work, launcher.count())[launcher.rank()]]

    def _sum_over_ranks(self, loss: Tensor) -> Tensor:
        """Sum the gradients of all ranks, on every rank, and return the sum of their losses. A rank without rows adds zeros."""
        if launcher.count() == 1:
            return loss
        weights = [weight for weight in self.task_model.model.parameters() if weight.requires_grad]
        used = ranks.any_rank([weight.grad is not None for weight in weights])  # others stay without: AdamW leaves them alone
        for weight in (weight for weight, is_used in zip(weights, used, strict=True) if is_used and weight.grad is None):
            weight.grad = torch.zeros_like(weight)
        ranks.sum_in_place([loss, *(weight.grad for weight in weights if weight.grad is not None)])
        return loss

    def _next_rows(self) -> np.ndarray:
        epoch, position = divmod(self.step, self.plan.updates_per_epoch)
        if position == 0 or not len(self.order):
            seed, size = self.settings.seed, self.plan.rows_per_update
            self.order = epoch_order(len(self.features), seed, epoch)
            if self.settings.batching == "bucketed":
                self.order = bucketed_order(self.order, self.lengths, size, seed, epoch)
        return self.order[position * self.plan.rows_per_update : (position + 1) * self.plan.rows_per_update]

    def save_checkpoint(self, folder: Path, tokenizer: Any) -> None:
        """Write model and tokenizer into `folder`, and with save_optimizer the optimizer's tensors."""
        model: Any = self.task_model.model
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if self.settings.save_optimizer:
            save_file(self._optimizer_tensors(), folder / "optimizer.safetensors")

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        """Return the optimizer's state by the names of the weights: `<weight>.exp_avg`, `.exp_avg_sq`, `.step`."""
        weights = self.task_model.model.named_parameters()
        return {f"{name}.{key}": value for name, weight in weights for key, value in self.optimizer.state[weight].items()}

    @property
    def computed(self) -> str:
        """Device type, precision and number of processes, which decide whether results are reproducible."""
        processes = f", {launcher.count()} processes" if launcher.count() > 1 else ""
        return f"on {self.accelerator.device.type}, precision {self.accelerator.mixed_precision}{processes}"

    def state_dict(self) -> dict[str, Any]:
        """Return all that training needs to resume between two updates with the same results; see src.training.state_file."""
        schedule, scaler = self.schedule.state_dict(), self.accelerator.scaler
        own_random, *other_random = self.random_states()
        return {
            "step": self.step,
            "computed": self.computed,
            "parts": self.parts,
            "model": {name: tensor.detach() for name, tensor in _unique_tensors(self.task_model.model)},
            "optimizer": self._optimizer_tensors(),
            "meter": self.meter.state_dict(),
            "schedule": {name: schedule[name] for name in SCHEDULE_STATE},
            "scaler": scaler.state_dict() if scaler else None,
            "random": own_random,
            **{random_name(rank): state for rank, state in enumerate(other_random, start=1)},
        }

    @ranks.on_every_rank
    def random_states(self) -> list[dict[str, Any]]:
        """Return the random states of all ranks, in the leader; count the memory that the others have used."""
        own, peak = random_state(self.accelerator.device), self.meter.peak
        pairs = ranks.gather((own, peak))
        self.meter.peak_before = max([self.meter.peak_before, *(peak for _, peak in pairs[1:])])
        return [state for state, _ in pairs]

    def cost(self) -> dict[str, float | str]:
        """Return the cost of the whole training for cost.json, with the largest of the ranks' peaks of memory."""
        self.random_states()
        return self.meter.cost()

    @ranks.on_every_rank
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state_dict. Raises KeyError, RuntimeError or the like if it is incomplete or of another model."""
        model, scaler = self.task_model.model, self.accelerator.scaler
        with torch.no_grad():
            for name, tensor in _unique_tensors(model):
                tensor.copy_(state["model"][name])
        weights = dict(model.named_parameters())
        for name, tensor in state.get("optimizer", {}).items():  # empty until a first update was finite
            weight, _, key = name.rpartition(".")
            on_cpu = key == "step" and not self.optimizer.defaults["fused"]  # where torch keeps it
            self.optimizer.state[weights[weight]][key] = tensor if on_cpu else tensor.to(weights[weight].device)
        self.meter.load_state_dict(state["meter"])
        self.step, self.parts = state["step"], state["parts"]
        self.schedule.load_state_dict(self.schedule.state_dict() | state["schedule"])
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        if scaler and state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        self.set_random_state(state)

    def set_random_state(self, state: Mapping[str, Any]) -> None:
        """Set the generators to this rank's part of a saved state; if it has none, from seed, rank and step."""
        name = random_name(launcher.rank())
        if name in state or launcher.rank() == 0:
            set_random_state(state[name], self.accelerator.device)
        else:
            set_seed(int(np.random.SeedSequence([self.settings.seed, launcher.rank(), self.step]).generate_state(1)[0]))


def random_name(rank: int) -> str:
    """Return the name of a rank's section in a saved state; the leader's is that of a single process."""
    return f"random_{rank}" if rank else "random"


def _unique_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield weights and persistent buffers by name; a tensor that has several names comes once."""
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            yield name, tensor


def accumulate(task_model: TaskModel, batches: Sequence[Batch], items: int, accelerator: Accelerator) -> Tensor:
    """Accumulate the gradient of an update, or of this rank's part of it, and return its loss, a scalar on the device.

    The loss is the sum over the items of `batches` divided by `items`, the number of the update's items, however many batches
    and ranks they are split into.
    """
    total = torch.zeros((), device=accelerator.device)
    for batch in batches:
        loss = task_model.training_loss(batch) / items
        accelerator.backward(loss)
        total += loss.detach()
    return total


def update_weights(
    model: nn.Module, loss: Tensor, optimizer: AcceleratedOptimizer, accelerator: Accelerator, max_grad_norm: float
) -> Update:
    """Update the weights, unless the loss or the gradient is not finite, and clear the gradient."""
    grad_norm = accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
    finite = torch.isfinite(loss) & torch.isfinite(grad_norm)
    skips_itself = accelerator.scaler is not None  # a scaler does, judging by the gradient alone
    if not skips_itself and optimizer.defaults["fused"]:
        optimizer.optimizer.found_inf = (~finite).float()  # fused AdamW reads it on the device
        skips_itself = True
    if skips_itself or bool(finite):  # which waits for the device
        optimizer.step()
    optimizer.zero_grad()
    return Update(loss, grad_norm, finite)
