"""Evaluation: logits of a split in the file's order, its loss, its scores, and the results of one checkpoint."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from src.batches import Features, TaskModel, by_length
from src.checkpoint import Run
from src.errors import NumbersError
from src.progress import Progress
from src.results import Scores

logger = logging.getLogger(__name__)


class Split(Protocol):
    """What the loop needs of a data file; processor.seq_cls.Split says more."""

    @property
    def name(self) -> str: ...
    @property
    def features(self) -> Features: ...
    def __len__(self) -> int: ...
    def score(self, logits: np.ndarray) -> Scores: ...
    def prediction_lines(self, logits: np.ndarray) -> Iterable[str]: ...


def predict(task_model: TaskModel, split: Split, batch_size: int) -> tuple[np.ndarray, float]:
    """Logits float32 [n, C] in the split's order, and the mean loss over its rows. Leaves the model's mode as it was.

    Rows are sorted by length, so that little is padded; each batch's logits go straight to their rows of the one result.
    """
    model, collate = task_model.model, task_model.collate
    was_training = model.training
    model.eval()
    logits: np.ndarray | None = None
    loss = torch.zeros((), dtype=torch.float64, device=collate.device)
    done, progress = 0, Progress(f"scoring {split.name}", len(split))
    with torch.inference_mode():
        for rows in by_length(split.features, batch_size):
            batch = collate(split.features, rows)
            output = task_model.logits(batch).float()
            loss += task_model.summed_loss(output, batch.labels)
            if logits is None:
                logits = np.empty((len(split), output.shape[-1]), np.float32)
            logits[rows] = output.cpu().numpy()
            done += len(rows)
            if progress.due():
                progress.show(done)
    progress.close()
    model.train(was_training)
    assert logits is not None  # a split has rows
    return logits, float(loss) / len(split)


@dataclass
class Scorer:
    """Scores weights on the splits of a run, each (step, split) once, and files what comes out. `seconds`: time spent so far."""

    run: Run
    splits: dict[str, Split]
    batch_size: int
    seconds: float = 0.0

    def score(self, task_model: TaskModel, step: int, names: Iterable[str]) -> None:
        """Score `task_model`, the weights of `step`, on the named splits unless that has been done.

        Raises NumbersError where a logit is not finite.
        """
        for name in names:
            if name not in self.splits or self.run.book.has(step, name):
                continue
            started = time.monotonic()
            split = self.splits[name]
            logits, loss = predict(task_model, split, self.batch_size)
            if not np.isfinite(logits).all():
                raise NumbersError(f"step {step}: logits on {name} are not finite numbers; train with a smaller learning_rate.")
            scores = {**split.score(logits), "loss": loss}
            if name == "test":
                self.run.write_predictions(step, name, split.prediction_lines(logits))
            self.run.add_scores(step, name, scores)
            spent = time.monotonic() - started
            self.seconds += spent
            shown = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
            logger.info("step %d, %s: %s (%s rows in %.1f s)", step, name, shown, f"{len(split):,}", spent)
