"""Measurements of a training: loss, speed, cost, and updates that were not finite."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from src.common.errors import NumbersError
from src.model.device import device_name, peak_memory

# How many updates in a row may be non-finite: by on_nonfinite, and in fp16, whose scaler lowers its factor until gradients fit.
MAX_NONFINITE_IN_A_ROW = {"stop": 0, "skip": 9}
MAX_NONFINITE_IN_A_ROW_FP16 = 30

# All attributes of a Meter are its state, except these: they belong to the process.
NOT_STATE = frozenset({"device", "max_nonfinite_in_a_row", "clock_started"})


@dataclass(frozen=True)
class Update:
    """One update, as scalars on the device: its loss, the norm of its gradient before clipping, and whether both are finite."""

    loss: Tensor
    grad_norm: Tensor
    finite: Tensor  # bool; if False, the update was skipped and the weights stayed as they were


class Meter:
    """Measurements of the updates since the last `clear`, and totals of the whole training.

    Losses and the finite check stay on the device: `add` does not wait for it, `check` and `read` do.
    """

    def __init__(self, device: torch.device, max_nonfinite_in_a_row: int) -> None:
        self.device, self.max_nonfinite_in_a_row = device, max_nonfinite_in_a_row
        self.clock_started: float | None = None
        self.total_seconds, self.total_tokens, self.peak_before = 0.0, 0, 0
        self.total_skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.nonfinite_in_a_row = torch.zeros((), dtype=torch.int64, device=device)
        self.failed_step = torch.full((), -1, dtype=torch.int64, device=device)  # first step with too many in a row; -1: none
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.clear()
        self.start_clock()

    def clear(self) -> None:
        """Start a new window of measurements."""
        if self.clock_started is not None:
            self.stop_clock()
            self.start_clock()
        self.total_skipped = self.total_skipped + self.skipped
        self.updates, self.rows, self.tokens, self.seconds = 0, 0, 0, 0.0
        self.loss = torch.zeros((), device=self.device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=self.device)
        self.grad_norm = torch.zeros((), device=self.device)

    def start_clock(self) -> None:
        """Count time as training time from now on."""
        self.clock_started = time.monotonic()

    def stop_clock(self) -> None:
        """Stop counting time as training time, e.g. for an evaluation."""
        elapsed = self._elapsed()
        self.seconds, self.total_seconds = self.seconds + elapsed, self.total_seconds + elapsed
        self.clock_started = None

    def _elapsed(self) -> float:
        """Return the seconds since the clock was started; 0 if it is stopped."""
        return 0.0 if self.clock_started is None else time.monotonic() - self.clock_started

    def add(self, step: int, update: Update, rows: int, tokens: int) -> None:
        """Count the update that led, or would have led, to `step`."""
        self.updates, self.rows, self.tokens = self.updates + 1, self.rows + rows, self.tokens + tokens
        self.total_tokens += tokens
        # No tensor is changed in place: those in a state_dict stay as they are.
        self.loss = self.loss + torch.where(update.finite, update.loss, 0.0)
        self.grad_norm = torch.where(update.finite, update.grad_norm, self.grad_norm)
        self.skipped = self.skipped + ~update.finite
        self.nonfinite_in_a_row = torch.where(update.finite, 0, self.nonfinite_in_a_row + 1)
        failed = (self.failed_step < 0) & (self.nonfinite_in_a_row > self.max_nonfinite_in_a_row)
        self.failed_step = torch.where(failed, step, self.failed_step)

    def check(self) -> None:
        """Raise NumbersError, naming the step, if more updates in a row were non-finite than allowed."""
        if (step := int(self.failed_step)) >= 0:
            limit = self.max_nonfinite_in_a_row
            before = f", nor are those of the {limit} updates before it" if limit else ""
            raise NumbersError(
                f"step {step}: the loss or the gradient is not a finite number{before}. The weights were not affected, and the "
                "checkpoints are good. Try a smaller --learning_rate, or --mixed_precision no."
            )

    def read(self) -> dict[str, float | None]:
        """Return the measurements of the window for log.jsonl.

        loss (mean) and grad_norm (last) of the finite updates, None if there is none; examples_per_s; tokens_per_s; skipped
        updates; seconds of training in total. Raises NumbersError as `check` does.
        """
        self.check()
        elapsed = self._elapsed()
        seconds, skipped = max(self.seconds + elapsed, 1e-9), int(self.skipped)
        finite = self.updates - skipped
        return {
            "loss": float(self.loss) / finite if finite else None,
            "grad_norm": float(self.grad_norm) if finite else None,
            "examples_per_s": round(self.rows / seconds, 1),
            "tokens_per_s": round(self.tokens / seconds, 1),
            "skipped": skipped,
            "seconds": round(self.total_seconds + elapsed, 3),
        }

    @property
    def peak(self) -> int:
        """The most memory that training has used, in bytes, including before an interruption."""
        return max(self.peak_before, peak_memory(self.device))

    def cost(self) -> dict[str, float | str]:
        """Return the cost of the whole training for cost.json."""
        total_seconds = self.total_seconds + self._elapsed()
        return {
            "training_seconds": round(total_seconds, 3),
            "peak_memory_bytes": self.peak,
            "tokens_per_s": round(self.total_tokens / max(total_seconds, 1e-9), 1),
            "skipped_updates": int(self.total_skipped + self.skipped),
            "device": device_name(self.device),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors and numbers of all attributes that are state; seconds include the running clock."""
        state = {name: value for name, value in vars(self).items() if name not in NOT_STATE}
        elapsed = self._elapsed()
        times = {"seconds": self.seconds + elapsed, "total_seconds": self.total_seconds + elapsed}
        return state | times | {"peak_before": self.peak}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state_dict and restart the clock. Raises KeyError if it lacks an attribute."""
        for name in vars(self).keys() - NOT_STATE:
            value = state[name]
            setattr(self, name, value.to(self.device) if isinstance(value, Tensor) else value)
        self.start_clock()
