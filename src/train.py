"""The training loop shared by all tasks: when to log, to score and to save, and how it goes on after an interruption."""

import logging
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator
from safetensors.torch import save_file

from src import signals
from src.data import Split
from src.errors import Interrupted
from src.evaluate import Scorer
from src.heads import TaskModel
from src.progress import Progress
from src.resume import load_state, save_state
from src.run_folder import RunFolder
from src.settings import Settings
from src.train_state import TrainState

logger = logging.getLogger(__name__)

Save = Callable[[Path], None]


def train(
    task_model: TaskModel, split: Split, settings: Settings, accelerator: Accelerator, run: RunFolder, scorer: Scorer, save: Save
) -> None:
    """Fine-tune `task_model` on `split`, scoring and saving on the way as the settings say, and write cost.json.

    Goes on where the run has been left. `save` writes the model and its tokenizer into a folder. Raises NumbersError where the
    loss or a gradient is not finite, Interrupted, with its state saved, where a signal asks for the end.
    """
    training = TrainState(task_model, split.features, settings, accelerator)
    plan = training.plan
    logger.info("training: %s rows, %d updates, %d to an epoch", f"{len(split):,}", plan.total, plan.updates_per_epoch)
    scorer.seconds = load_state(training, run)
    if training.step:
        logger.info("%s: it goes on from step %d", run.folder, training.step)
    progress = Progress("step", plan.total)
    with signals.ending_at_check():
        try:
            _score_and_save(training, settings, run, scorer, save)
            while training.step < plan.total:
                learning_rate = training.learning_rate
                training.advance()
                if progress.due():
                    now = training.meter.read()
                    loss = "not finite" if now["loss"] is None else f"{now['loss']:.4f}"
                    text = f"loss {loss}, lr {learning_rate:.2e}, {now['examples_per_s']:.0f} examples/s"
                    progress.show(training.step, text)
                if training.step % settings.log_every == 0 or training.step == plan.total:
                    _log(run, training, learning_rate)
                _score_and_save(training, settings, run, scorer, save)
                signals.check()
        except Interrupted as error:
            training.meter.check()
            save_state(training, run, scorer.seconds)
            kept = f"step {training.step} of {plan.total} is saved, and the same command goes on from there"
            raise Interrupted(error.number, kept) from None
    progress.close()
    run.finish_training(training.meter.cost())


def _score_and_save(training: TrainState, settings: Settings, run: RunFolder, scorer: Scorer, save: Save) -> None:
    """What is due at the step that training has come to; what of it has been done before an interruption is not done again."""
    step, meter = training.step, training.meter
    saves = step > 0 and (step == training.plan.total or step % settings.save_steps == 0)
    scores = step > 0 and step % settings.logging_steps == 0
    if not (scores or saves):
        return
    meter.check()
    meter.stop_clock()
    scorer.score(training.task_model, step, due_splits(scores, saves, settings))
    if saves and step not in run.checkpoints():
        # First the state: what goes on from it makes this checkpoint again, and removes again what it makes needless.
        save_state(training, run, scorer.seconds)
        run.save_checkpoint(step, lambda folder: _fill(folder, save, training, settings.save_optimizer))
    if saves:
        run.prune()
    meter.start_clock()


def due_splits(scores: bool, saves: bool, settings: Settings) -> list[str]:
    """The splits to score at a step that is at logging_steps (`scores`) or is saved (`saves`).

    A saved checkpoint is scored on dev to choose among them, and, where all are to be scored on test, at once: its weights are
    at hand, and pruning needs to know. Without do_eval test is left alone.
    """
    during = scores and (settings.evaluate_test_during_training or not settings.has_dev)
    on_test = settings.do_eval and (during or (saves and settings.eval_all_checkpoints))
    return ["dev", "test"] if on_test else ["dev"]


def _log(run: RunFolder, training: TrainState, learning_rate: float) -> None:
    step, meter = training.step, training.meter
    now = meter.read()
    run.log({"step": step, "epoch": round(step / training.plan.updates_per_epoch, 4), "learning_rate": learning_rate, **now})
    if now["skipped"]:
        logger.warning("%d of the %d updates up to step %d were not finite and are skipped", now["skipped"], meter.updates, step)
    meter.clear()


def _fill(folder: Path, save: Save, training: TrainState, with_optimizer: bool) -> None:
    save(folder)
    if with_optimizer:
        save_file(training.optimizer_tensors(), folder / "optimizer.safetensors")
