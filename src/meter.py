"""What training is like: loss, speed, cost, and updates that came to no finite number."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from src.device import device_name, peak_memory
from src.errors import NumbersError

# How many updates in a row may come to no finite number: by on_nonfinite, and in fp16, whose scaler tries smaller and smaller
# factors until the gradients fit, by that.
BEARABLE = {"stop": 0, "skip": 9}
BEARABLE_IN_FP16 = 30


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

    def __init__(self, device: torch.device, bearable: int) -> None:
        self.device, self.bearable = device, bearable
        self.total_seconds, self.total_tokens, self.peak_before = 0.0, 0, 0
        self.total_skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros((), dtype=torch.int64, device=device)
        self.unbearable = torch.full((), -1, dtype=torch.int64, device=device)  # the step at which too many were in a row
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.clear()
        self.start_clock()

    def clear(self) -> None:
        """Start a new window."""
        self.total_skipped = self.total_skipped + self.skipped
        self.updates, self.rows, self.tokens, self.seconds = 0, 0, 0, 0.0
        self.loss = torch.zeros((), device=self.device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=self.device)
        self.grad_norm = torch.zeros((), device=self.device)

    def start_clock(self) -> None:
        """From here on time is training time."""
        self.started: float | None = time.monotonic()

    def stop_clock(self) -> None:
        """Until start_clock() time is not training time."""
        if self.started is not None:
            spent = time.monotonic() - self.started
            self.seconds, self.total_seconds = self.seconds + spent, self.total_seconds + spent
        self.started = None

    def add(self, step: int, update: Update, rows: int, tokens: int) -> None:
        """Count the update that led to `step`, or would have."""
        self.updates, self.rows, self.tokens = self.updates + 1, self.rows + rows, self.tokens + tokens
        self.total_tokens += tokens
        self.loss += torch.where(update.fine, update.loss, 0.0)
        self.grad_norm = torch.where(update.fine, update.grad_norm, self.grad_norm)
        self.skipped += ~update.fine
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

    def read(self) -> dict[str, float | None]:
        """Of the window: mean loss and last grad_norm of the updates that count (None where none does), examples_per_s,
        tokens_per_s, skipped updates; `seconds` of training in all."""
        self.check()
        if self.started is not None:
            self.stop_clock()
            self.start_clock()
        seconds, skipped = max(self.seconds, 1e-9), int(self.skipped)
        counted = self.updates - skipped
        return {
            "loss": float(self.loss) / counted if counted else None,
            "grad_norm": float(self.grad_norm) if counted else None,
            "examples_per_s": round(self.rows / seconds, 1),
            "tokens_per_s": round(self.tokens / seconds, 1),
            "skipped": skipped,
            "seconds": round(self.total_seconds, 3),
        }

    @property
    def peak(self) -> int:
        """Bytes: the most that training took so far, before an interruption, too."""
        return max(self.peak_before, peak_memory(self.device))

    def cost(self) -> dict[str, float | str]:
        """What training has cost in all, for cost.json."""
        return {
            "training_seconds": round(self.total_seconds, 3),
            "peak_memory_bytes": self.peak,
            "tokens_per_s": round(self.total_tokens / max(self.total_seconds, 1e-9), 1),
            "skipped_updates": int(self.total_skipped + self.skipped),
            "device": device_name(self.device),
        }
