"""The heavy stages of a run, once settings and files are known to be good: load the model, train, score, write the results."""

import logging
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from src.batches import Collator
from src.data import Split, Task
from src.device import compile_layers, describe_environment, start_device
from src.dropout import use_cheap_dropout
from src.errors import EnvironmentFailure
from src.evaluate import Scorer
from src.heads import HEADS, TaskModel
from src.models import load_model, load_tokenizer, model_revision, uses_segments
from src.progress import STARTED, log_to
from src.run_folder import RunFolder
from src.settings import Settings
from src.train import train
from src.unpadding import can_unpad, unpad_encoder

logger = logging.getLogger(__name__)


def prepare(settings: Settings, task: Task, run: RunFolder) -> tuple[Accelerator, Any, Any]:
    """The device, the tokenizer, and the model to train; None in its place where there is nothing to train.

    What is there to be scored comes with the tokenizer of its checkpoints.
    """
    accelerator = start_device(settings)
    checkpoint = run.checkpoint_folder(run.checkpoints()[-1]) if run.has_checkpoints else None
    tokenizer = load_tokenizer(settings, checkpoint, word_level=HEADS[task.kind].word_level)
    trains = settings.do_train and not run.has_checkpoints
    model = load_model(settings, task.kind, task.labels) if trains else None
    return accelerator, tokenizer, model


def load_checkpoint(settings: Settings, task: Task, checkpoint: Path) -> tuple[Any, TaskModel]:
    """The tokenizer and the model of a checkpoint, ready to predict on this machine, whatever it was trained on."""
    precision = "no" if settings.mixed_precision == "no" else "auto"
    here = {"no_cuda": False, "mixed_precision": precision, "torch_compile": False}  # compiling takes longer than a few answers
    settings = settings.model_copy(update=here)
    accelerator = start_device(settings)
    tokenizer = load_tokenizer(settings, checkpoint, word_level=HEADS[task.kind].word_level)
    model = load_model(settings, task.kind, task.labels, checkpoint)
    return tokenizer, wrap_model(accelerator.prepare_model(model, evaluation_mode=True), settings, task, accelerator)


def train_and_score(
    settings: Settings,
    task: Task,
    accelerator: Accelerator,
    tokenizer: Any,
    model: Any,
    splits: Mapping[str, Split],
    run: RunFolder,
) -> None:
    """Bring `run` to its end: its checkpoints, scores, eval_results.* and cost.json.

    `model` is the one to train, or None. Raises EnvironmentFailure where memory runs out.
    """
    prepared = time.monotonic() - STARTED
    environment = describe_environment(accelerator)
    if model is not None:
        environment["model_revision"] = model_revision(settings)
    run.start(environment, {name: split.facts for name, split in splits.items()})
    log_to(run.log_file())
    scorer = Scorer(run, dict(splits), settings.evaluation_budget)
    try:
        if model is not None:

            def save(folder: Path) -> None:
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)

            train(wrap_model(model, settings, task, accelerator), splits["train"], settings, accelerator, run, scorer, save)
            del model, save
        if settings.do_eval:
            score_checkpoints(settings, task, accelerator, run, scorer)
    except torch.OutOfMemoryError as error:
        raise EnvironmentFailure(
            "the GPU's memory is full. Halve --train_batch_size and double --gradient_accumulation_steps, which gives the same "
            f"updates; for scoring, lower --eval_batch_size. ({str(error).split('. ')[0]})"
        ) from None
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise EnvironmentFailure(
            f"the model cannot be compiled here: {str(error).splitlines()[0]} Say --torch_compile false."
        ) from None
    run.finish(scorer.seconds, prepared)


def score_checkpoints(settings: Settings, task: Task, accelerator: Accelerator, run: RunFolder, scorer: Scorer) -> None:
    """Score the checkpoints in the run's folder that are still to be scored, and remove those that are no longer needed."""
    unfinished = run.state == "partial"
    if unfinished:
        logger.warning("%s: its training did not come to its end yet; the checkpoints that are there are scored", run.folder)
    while left := run.unscored():
        step, names = left[0]
        accelerator.free_memory()  # accelerate holds on to every model it has prepared
        model = load_model(settings, task.kind, task.labels, run.checkpoint_folder(step))
        model = accelerator.prepare_model(model, evaluation_mode=True)
        scorer.score(wrap_model(model, settings, task, accelerator), step, names)
    if not unfinished:  # what goes on from it decides itself what it needs
        run.prune()


def wrap_model(model: Any, settings: Settings, task: Task, accelerator: Accelerator) -> TaskModel:
    """The model as the loop takes it: padded with its own pad id, sent segments exactly when its config has them.

    Its encoder runs without padding where the settings want that and its kind can.
    """
    unpads = settings.padding == "none" and can_unpad(model)
    if unpads:
        unpad_encoder(model)
    elif settings.padding == "none":
        _say_once(f"{model.config.model_type} cannot run without padding; rows are padded to the longest of their batch")
    if accelerator.device.type == "cpu":
        use_cheap_dropout(model)
    compile_layers(model, settings.torch_compile, accelerator.device)
    length = settings.max_seq_len if settings.padding == "max_length" else None
    pad_token_id = getattr(model.config, "pad_token_id", None) or 0
    collate = Collator(pad_token_id, uses_segments(model.config), accelerator.device, length)
    return TaskModel(model, collate, HEADS[task.kind], settings, unpads)


@cache
def _say_once(message: str) -> None:
    logger.info("%s", message)
