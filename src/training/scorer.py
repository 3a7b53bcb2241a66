"""Score checkpoints: predict the splits of a run, and keep scores, reports and predictions in its folder."""

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from src.common.errors import BenchmarkError, Interrupted, NumbersError, ScoringError, brief
from src.common.progress import Progress
from src.data.task import Split
from src.model.device import is_out_of_memory
from src.model.heads import TaskModel
from src.runs.files import record_choices
from src.runs.folder import RunFolder
from src.training import ranks
from src.training.evaluate import predict
from src.training.trackers import Tracker

logger = logging.getLogger(__name__)


@dataclass
class Scorer:
    """Scores weights on the splits of a run, each (step, split) once, and writes scores and predictions into its folder."""

    run: RunFolder
    splits: dict[str, Split]
    budget: int  # tokens per batch
    seconds: float = 0.0  # time spent so far

    def __post_init__(self) -> None:
        self.tracker = Tracker(self.run)

    def score(self, task_model: TaskModel, step: int, names: Iterable[str]) -> None:
        """Score `task_model`, the weights of `step`, on those of the named splits that exist and are not scored yet.

        Raises NumbersError if the loss is not finite, Interrupted if a signal arrives, RankFailed if another process of the run
        has failed, and ScoringError for anything else.
        """
        for name in names:
            if name in self.splits and not self.run.history.has(step, name):
                try:
                    self._score_split(task_model, step, name)
                except (Interrupted, NumbersError, ranks.RankFailed):
                    raise
                except Exception as error:
                    raise self._scoring_error(error, step, name) from error

    def _scoring_error(self, error: Exception, step: int, name: str) -> ScoringError:
        """Return the error that says what failed and that the weights are kept; log where a bug is."""
        expected = isinstance(error, BenchmarkError | OSError) or is_out_of_memory(error)
        if not expected:
            logger.warning("scoring on %s failed", name, exc_info=error)
        reason = brief(error).rstrip(".")
        if is_out_of_memory(error):
            reason = f"memory is full even with one row per batch ({reason})"
        elif not isinstance(error, BenchmarkError):
            reason = f"{type(error).__name__}: {reason}"
        return ScoringError(
            f"step {step} cannot be scored on {name}: {reason}. Its weights are kept in {self.run.folder}. "
            "Correct the cause and rerun the same command: it scores them without training again."
        )

    def _score_split(self, task_model: TaskModel, step: int, name: str) -> None:
        started = time.monotonic()
        split = self.splits[name]
        outputs, loss = predict(task_model, split.features, self.budget, Progress(f"scoring {name}", len(split)))
        if not math.isfinite(loss):
            raise NumbersError(f"step {step}: the loss on {name} is not a finite number; train with a smaller --learning_rate.")
        decoded = split.decode(outputs, self.run.history.scores.get(step, {}).get("dev", {}))
        scores = {**split.score(decoded), "loss": loss}
        if not math.isfinite(headline := scores.get(self.run.history.headline, math.nan)):
            raise ValueError(f"the metric returns {self.run.history.headline} = {headline}, expected a finite number")
        cautions = split.cautions(decoded)
        if name == "test":
            self.run.write_predictions(step, name, split.predictions(decoded))
        record_choices(self.run.checkpoint_folder(step), scores)
        self.run.add_scores(step, name, scores, split.report(decoded), cautions)
        self.tracker.update()
        seconds = time.monotonic() - started
        self.seconds += seconds
        shown = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
        logger.info("step %d, %s: %s (%s rows in %.1f s)", step, name, shown, f"{len(split):,}", seconds)
        if cautions:
            logger.warning("step %d, %s: caution: %s", step, name, "; ".join(cautions))
