"""Evaluation: the outputs and the loss of a model on a split, and the scores of a checkpoint."""

import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from src.common import launcher, signals
from src.common.progress import Progress
from src.data.task import Features
from src.model.batch import token_positions
from src.model.device import is_out_of_memory
from src.model.heads import TaskModel
from src.training import ranks
from src.training.order import by_length, shares

logger = logging.getLogger(__name__)

CPU_BUDGET = 4096  # tokens; larger batches exceed a CPU's caches and are slower


@dataclass(frozen=True)
class Outputs:
    """What a model returns for some rows."""

    values: np.ndarray | None  # None for no rows
    loss: float  # summed over items
    items: int


def predict(task_model: TaskModel, features: Features, budget: int, progress: Progress | None = None) -> tuple[np.ndarray, float]:
    """Return the outputs of n rows in their order, and the mean loss over their items.

    Outputs are logits float32 [n, C]; for tagging the best label id of each token, int64 [total] as in `features`; for spans
    the best of each window, float32 [n, n_best_size, 4] (src.model.heads.best_spans). Rows are batched by length, to need little
    padding, with at most `budget` tokens per batch. The model is left in the mode, training or evaluation, that it was in.
    The rows are split over the processes of the run.
    """
    if launcher.count() == 1:
        whole = _predict_rows(task_model, features, budget, progress)
        assert whole.values is not None  # no split is empty
        return whole.values, whole.loss / whole.items
    rows = shares(features.lengths, launcher.count())
    ranks.tell(predict_share, budget)
    own = ranks.scatter([features.subset(share) for share in rows])
    try:
        outputs = _predict_rows(task_model, own, budget, progress, len(features) / len(own))
    except BaseException:
        ranks.stop()
        ranks.gather(None)  # after it, the followers wait for what comes next, such as saving the state
        raise
    parts = ranks.gather(outputs)
    # The shares together are all rows, so the positions of their outputs are a permutation.
    positions = [features.positions(share) if task_model.head.labels == "tokens" else share for share in rows]
    values = np.concatenate([part.values for part in parts if part.values is not None])
    ordered = values[np.argsort(np.concatenate(positions))]
    return ordered, sum(part.loss for part in parts) / sum(part.items for part in parts)


def predict_share(follower: Any, budget: int) -> None:
    """Make a follower's part of `predict`, see src.training.finetune.Follower."""
    ranks.gather(_predict_rows(follower.task_model, ranks.scatter([]), budget))


def _predict_rows(
    task_model: TaskModel, features: Features, budget: int, progress: Progress | None = None, scale: float = 1.0
) -> Outputs:
    """Return the outputs of the rows in `features`; see predict. `progress` shows `scale` rows for each of them."""
    if task_model.collate.device.type == "cpu":
        budget = min(budget, CPU_BUDGET)
    model = task_model.model
    was_training = model.training
    model.eval()
    outputs: np.ndarray | None = None
    loss, done, items = 0.0, 0, 0  # the loss in Python's float64, which not every device has
    pending = deque(by_length(features, budget, task_model.collate.length))
    with torch.inference_mode():
        while pending and not ranks.stopped():
            signals.check()
            rows = pending.popleft()
            try:
                batch = task_model.collate(features, rows)
                logits = task_model.logits(batch)
                batch_loss = task_model.head.summed_loss(logits.float(), batch.labels)
                batch_outputs = task_model.postprocess(logits, batch).cpu().numpy()
            except (RuntimeError, MemoryError) as error:
                if len(rows) == 1 or not is_out_of_memory(error):
                    raise
                logger.info("memory is full: splitting a batch of %d rows in two", len(rows))
                pending.extendleft(reversed(np.array_split(rows, 2)))
                continue
            loss += float(batch_loss)
            places, size = rows, len(features)
            if task_model.head.labels == "tokens":
                positions, real = token_positions(features, rows)
                places, size = positions[real], len(features.tensors["input_ids"])
            if outputs is None:
                outputs = np.empty((size, *batch_outputs.shape[1:]), batch_outputs.dtype)
            outputs[places] = batch_outputs
            done, items = done + len(rows), items + batch.items
            if progress and progress.due():
                progress.show(round(done * scale))
    if progress:
        progress.close()
    model.train(was_training)
    return Outputs(outputs, loss, items)
