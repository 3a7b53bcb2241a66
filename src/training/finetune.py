"""The heavy stages of a run, once settings and files are known to be good: load the model, train, score, write the results."""

import gc
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from src.common import launcher
from src.common.errors import ConfigError, EnvironmentFailure, brief
from src.common.files import read_json
from src.common.log import log_once, logging_to, seconds_since_start
from src.data.task import Features, Split, Task
from src.model.batch import Collator
from src.model.checks import check_model
from src.model.device import DEVICE_TYPES, choose_type, describe_environment, device_name, is_out_of_memory
from src.model.files import pad_id, uses_segments
from src.model.heads import HEADS, TaskModel
from src.model.layers import compile_layers
from src.model.load import (
    add_embeddings,
    load_checkpoint_model,
    load_checkpoint_tokenizer,
    load_tokenizer,
    model_revision,
    new_model,
)
from src.model.unpadding.dropout import use_cheap_dropout
from src.model.unpadding.unpad import can_unpad, unpad_encoder
from src.runs.files import LOG
from src.runs.folder import RunFolder
from src.settings.class_weights import label_weights
from src.settings.schema import NO_WEIGHTS, Settings, counts_for
from src.training import ranks
from src.training.loop import train
from src.training.scorer import Scorer
from src.training.state import Plan, TrainState
from src.training.trackers import require_tracker

logger = logging.getLogger(__name__)


@contextmanager
def device_errors() -> Iterator[None]:
    """Turn errors about memory and compilation into EnvironmentFailure."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise EnvironmentFailure(
                "memory is full. Halve --train_batch_size and double --gradient_accumulation_steps, which gives the same "
                f"updates; for scoring, lower --eval_batch_size. ({brief(error)})"
            ) from None
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise EnvironmentFailure(
            f"the model cannot be compiled here: {str(error).splitlines()[0]} Pass --torch_compile false."
        ) from None


def start_device(settings: Settings) -> Accelerator:
    """Seed all random states and return the Accelerator for the device, without others of the run's processes.

    These connect here. Raises ConfigError for fp16 on a CPU, and for fewer devices than processes.
    """
    chosen = choose_type(settings.no_cuda)
    device_type, precision = DEVICE_TYPES[chosen], settings.mixed_precision
    if precision == "auto":
        precision = "bf16" if device_type.has_fast_bf16() else "no"
    if precision == "fp16" and not device_type.has_fp16:
        raise ConfigError(f"mixed_precision = fp16 ({settings.layer_of('mixed_precision')}) needs a GPU; use no, bf16 or auto.")
    AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run in this process may have used another device
    ranks.join(chosen)
    # It would wrap the model, whose gradients src.training.state sums, and step the schedule on every rank.
    with launcher.hidden():
        accelerator = Accelerator(cpu=chosen == "cpu", mixed_precision=precision, gradient_accumulation_steps=1)
    set_seed(settings.seed)
    logger.info("device: %s, mixed_precision: %s, seed: %d", device_name(accelerator.device), precision, settings.seed)
    return accelerator


@dataclass
class Components:
    """Everything that is loaded before the data: the device, the tokenizer, and the model to train, if training is to be done."""

    accelerator: Accelerator
    tokenizer: Any
    model: Any | None


@device_errors()
def prepare(run: RunFolder, task: Task) -> Components:
    """Load and check the tokenizer, that of the checkpoints if only they are to be scored, and the model to train.

    Raises ModelError if they cannot be used with these settings.
    """
    settings = run.settings
    accelerator = start_device(settings)
    require_tracker(settings)
    word_level = HEADS[task.kind].word_level
    if run.has_checkpoints:
        checkpoint = run.checkpoint_folder(run.checkpoints()[-1])
        return Components(accelerator, load_checkpoint_tokenizer(checkpoint, settings, word_level, _is_korean(task)), None)
    tokenizer, model = load_tokenizer(settings, word_level, _is_korean(task)), None
    if task.special_tokens:
        tokenizer.add_special_tokens({"additional_special_tokens": list(task.special_tokens)})
    if settings.do_train:
        model = new_model(settings, task.kind, task.labels)
        add_embeddings(model, len(tokenizer))
        check_model(model, tokenizer, settings, task)
    return Components(accelerator, tokenizer, model)


def _is_korean(task: Task) -> bool:
    """Return whether a task's texts are known to be Korean: those of all published files are. Own data decides for itself."""
    return bool(task.files)


def load_checkpoint(settings: Settings, task: Task, checkpoint: Path, no_cuda: bool = False) -> tuple[Any, TaskModel]:
    """Return the tokenizer and the model of a checkpoint, to predict on this machine, whatever the training machine was.

    no_cuda: use the CPU, even if there is a GPU.
    """
    precision = "no" if settings.mixed_precision == "no" else "auto"
    # Compiling would take longer than a few predictions.
    settings = settings.model_copy(update={"no_cuda": no_cuda, "mixed_precision": precision, "torch_compile": False})
    accelerator = start_device(settings)
    tokenizer = load_checkpoint_tokenizer(checkpoint, settings, HEADS[task.kind].word_level, _is_korean(task))
    return tokenizer, _task_model_of(checkpoint, settings, task, accelerator)


def _task_model_of(checkpoint: Path, settings: Settings, task: Task, accelerator: Accelerator) -> TaskModel:
    model = load_checkpoint_model(checkpoint, task.kind, settings)
    ranks.tell(Follower.score, settings, task, model)
    return wrap_model(accelerator.prepare_model(model, evaluation_mode=True), settings, task, accelerator)


class Follower:
    """What a process has that does what the leader tells it (src.training.follower)."""

    state: Any = None  # a TrainState, in training
    task_model: Any = None  # the weights that `predict` uses

    def train(self, settings: Settings, task: Task, model: Any, weights: Mapping[str, float] | None, features: Features) -> None:
        """Get ready to train `model`, as the leader does; random numbers are this rank's own."""
        accelerator = start_device(settings)
        self.state = TrainState(wrap_model(model, settings, task, accelerator, weights), features, accelerator)
        self.state.set_random_state({})
        self.task_model = self.state.task_model

    def score(self, settings: Settings, task: Task, model: Any) -> None:
        """Get ready to predict with the weights of a checkpoint."""
        self.state = self.task_model = None
        gc.collect()  # the memory of the weights before is free before these get theirs
        accelerator = start_device(settings)
        self.task_model = wrap_model(accelerator.prepare_model(model, evaluation_mode=True), settings, task, accelerator)


def train_and_score(run: RunFolder, task: Task, components: Components, splits: Mapping[str, Split]) -> None:
    """Finish `run`: its checkpoints, scores, eval_results.* and cost.json. The model to train is taken out of `components`.

    Raises EnvironmentFailure if memory runs out or the model cannot be compiled.
    """
    settings, accelerator = run.settings, components.accelerator
    preparation_seconds = seconds_since_start()
    environment = describe_environment(accelerator) | {"definition": task.model_dump(mode="json", exclude_defaults=True)}
    if settings.tuned_file:
        environment["search"] = read_json(Path(settings.tuned_file)).get("search")
    weights = None
    if components.model is not None:
        environment["updates"] = Plan.of(len(splits["train"]), settings).total
        environment["model_revision"] = model_revision(settings)
        if settings.class_weights != NO_WEIGHTS:
            weights = label_weights(settings, task, splits["train"].features)
        if weights:
            environment["class_weights"] = weights
            logger.info("train: class weights: %s", ", ".join(f"{label} {weight:.4g}" for label, weight in weights.items()))
    run.start(environment, {name: split.facts for name, split in splits.items()})
    scorer = Scorer(run, dict(splits), settings.evaluation_budget)
    with logging_to(run.folder / LOG), device_errors():
        if components.model is not None:
            ranks.tell(Follower.train, settings, task, components.model, weights, splits["train"].features)
            task_model = wrap_model(components.model, settings, task, accelerator, weights)
            components.model = None
            train(task_model, components.tokenizer, splits["train"], accelerator, scorer)
            del task_model  # no reference is left: its memory is free before checkpoints are scored
        if settings.do_eval:
            score_checkpoints(task, accelerator, scorer)
        scorer.tracker.close()
    run.finish(scorer.seconds, preparation_seconds)


def score_checkpoints(task: Task, accelerator: Accelerator, scorer: Scorer) -> None:
    """Score the checkpoints that are still to be scored, then remove those that are no longer needed."""
    run, settings = scorer.run, scorer.run.settings
    if run.state == "score":
        logger.warning("%s: training is not finished; scoring the checkpoints saved so far", run.folder)
    while unscored := run.unscored():
        step, names = unscored[0]
        accelerator.free_memory()  # accelerate keeps a reference to every model it has prepared
        scorer.score(_task_model_of(run.checkpoint_folder(step), settings, task, accelerator), step, names)
    if run.state != "score":  # a training that resumes prunes by itself
        run.prune()


def wrap_model(
    model: Any, settings: Settings, task: Task, accelerator: Accelerator, weights: Mapping[str, float] | None = None
) -> TaskModel:
    """Return the model with its head and collator: its own pad id, and segments if its config has them.

    weights: those of the labels in the loss of training, see src.settings.class_weights.

    Its encoder runs without padding if the settings ask for it and its architecture supports it.
    """
    head = HEADS[task.kind]
    unpads = settings.padding == "none" and can_unpad(model)
    if unpads:
        unpad_encoder(model, first_token=head.labels == "rows")
    elif settings.padding == "none":
        log_once(f"{model.config.model_type} cannot run without padding; rows are padded to the longest of their batch")
    if accelerator.device.type == "cpu":
        use_cheap_dropout(model)
    compile_layers(model, settings.torch_compile, accelerator.device)
    length = settings.max_seq_len if settings.padding == "max_length" else None
    collate = Collator(pad_id(model.config), uses_segments(model.config), accelerator.device, length, head.labels)
    on_device = torch.tensor(list(weights.values()), device=accelerator.device) if weights else None
    smoothing = settings.label_smoothing if counts_for("label_smoothing", task.kind) else 0.0
    return TaskModel(model, collate, head, settings, unpads, on_device, smoothing)
