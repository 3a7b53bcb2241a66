"""Evaluation: outputs for a split in the file's order, its loss, its scores, and the results of one checkpoint."""

import logging
import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from src import signals
from src.batches import by_length, token_positions
from src.data import Features, Split
from src.errors import NumbersError
from src.heads import TaskModel
from src.progress import Progress
from src.run_folder import RunFolder

logger = logging.getLogger(__name__)


CPU_BUDGET = 4096  # tokens; larger batches leave a CPU's caches and take longer


def predict(task_model: TaskModel, features: Features, budget: int, progress: Progress | None = None) -> tuple[np.ndarray, float]:
    """The outputs of n rows in their order, and the mean loss over their items. Leaves the model's mode as it was.

    Outputs: logits float32 [n, C]; where every token has a label, the best label id int64 [total], flat like the features' ids;
    for spans the best of each window, float32 [n, n_best_size, 4] (src.heads.best_spans).
    Rows are sorted by length, so that little is padded, in batches of at most `budget` tokens; each batch's outputs go straight
    to their places in the one result.
    """
    if task_model.collate.device.type == "cpu":
        budget = min(budget, CPU_BUDGET)
    model = task_model.model
    was_training = model.training
    model.eval()
    outputs: np.ndarray | None = None
    loss = torch.zeros((), dtype=torch.float64, device=task_model.collate.device)
    done, items = 0, 0
    waiting = deque(by_length(features, budget, task_model.collate.length))
    with torch.inference_mode():
        while waiting:
            signals.check()
            rows = waiting.popleft()
            batch = task_model.collate(features, rows)
            try:
                logits = task_model.logits(batch)
                batch_loss = task_model.head.summed_loss(logits.float(), batch.labels)
                kept = task_model.postprocess(logits, batch).cpu().numpy()
            except torch.OutOfMemoryError:
                if len(rows) == 1:
                    raise
                logger.info("the GPU's memory is full: a batch of %d rows is taken in two parts", len(rows))
                waiting.extendleft(reversed(np.array_split(rows, 2)))
                continue
            loss += batch_loss
            places, size = rows, len(features)
            if task_model.head.per_token:
                positions, real = token_positions(features, rows)
                places, size = positions[real], len(features.tensors["input_ids"])
            if outputs is None:
                outputs = np.empty((size, *kept.shape[1:]), kept.dtype)
            outputs[places] = kept
            done, items = done + len(rows), items + batch.items
            if progress and progress.due():
                progress.show(done)
    if progress:
        progress.close()
    model.train(was_training)
    assert outputs is not None  # there are rows
    return outputs, float(loss) / items


@dataclass
class Scorer:
    """Scores weights on the splits of a run, each (step, split) once, and files what comes out. `seconds`: time spent so far."""

    run: RunFolder
    splits: dict[str, Split]
    budget: int  # tokens in a batch
    seconds: float = 0.0

    def score(self, task_model: TaskModel, step: int, names: Iterable[str]) -> None:
        """Score `task_model`, the weights of `step`, on the named splits unless that has been done.

        Raises NumbersError where the loss is not finite.
        """
        for name in names:
            if name not in self.splits or self.run.history.has(step, name):
                continue
            started = time.monotonic()
            split = self.splits[name]
            progress = Progress(f"scoring {name}", len(split))
            outputs, loss = predict(task_model, split.features, self.budget, progress)
            if not math.isfinite(loss):
                raise NumbersError(f"step {step}: the loss on {name} is not a finite number; train with a smaller learning_rate.")
            decoded = split.decode(outputs)
            scores = {**split.score(decoded), "loss": loss}
            if name == "test":
                self.run.write_predictions(step, name, split.predictions(decoded))
            self.run.add_scores(step, name, scores, split.report(decoded))
            spent = time.monotonic() - started
            self.seconds += spent
            shown = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
            logger.info("step %d, %s: %s (%s rows in %.1f s)", step, name, shown, f"{len(split):,}", spent)
