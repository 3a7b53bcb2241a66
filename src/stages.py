"""What the run scripts do once the features of every split are there: train, score what is left to score, write the results."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator

from src.batches import Collator, TaskModel
from src.checkpoint import Run
from src.device import describe_environment, start_device
from src.evaluate import Scorer, Split
from src.models import HEADS, load_model, uses_segments
from src.progress import log_to
from src.settings import Settings
from src.train import train

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What the loop needs to know of a task; processor.Task says more."""

    @property
    def output_mode(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str] | None: ...


def train_and_score(settings: Settings, task: Task, tokenizer: Any, splits: Mapping[str, Split], run: Run) -> None:
    """Bring `run` to its end: its checkpoints, scores, eval_results.* and cost.json.

    The run's folder is not touched before data, tokenizer and model have proved to be good.
    """
    accelerator = start_device(settings)
    scorer = Scorer(run, dict(splits), settings.eval_batch_size)
    rows = {name: len(split) for name, split in splits.items()}
    if run.trained:
        run.start({}, rows)
        log_to(run.log_file())
    else:
        model = load_model(settings, task.output_mode, task.labels)
        environment = describe_environment(accelerator) | {"model_revision": getattr(model.config, "_commit_hash", None)}
        run.start(environment, rows)
        log_to(run.log_file())

        def save(folder: Path) -> None:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)

        train(_task_model(model, task, accelerator), splits["train"], settings, accelerator, run, scorer, save)
        run.trained = True
    if settings.do_eval:
        while left := run.unscored():
            step, names = left[0]
            model = load_model(settings, task.output_mode, task.labels, run.checkpoint_folder(step))
            model = accelerator.prepare_model(model, evaluation_mode=True)
            scorer.score(_task_model(model, task, accelerator), step, names)
        run.prune()
    run.write_results()


def _task_model(model: Any, task: Task, accelerator: Accelerator) -> TaskModel:
    collate = Collator(getattr(model.config, "pad_token_id", None) or 0, uses_segments(model.config), accelerator.device)
    return TaskModel(model, collate, HEADS[task.output_mode].summed_loss)
