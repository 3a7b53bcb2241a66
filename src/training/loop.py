"""The training loop shared by all tasks: when to log, score and save, and how an interrupted training resumes."""

import logging
from typing import Any

from accelerate import Accelerator

from src.common import signals
from src.common.errors import Interrupted, ScoringError
from src.common.files import DAMAGE, damaged_state
from src.common.progress import Progress
from src.data.task import Split
from src.model.heads import TaskModel
from src.runs.folder import RunFolder
from src.settings.schema import Settings
from src.training.scorer import Scorer
from src.training.state import TrainState
from src.training.state_file import read_state, write_state

logger = logging.getLogger(__name__)


def train(task_model: TaskModel, tokenizer: Any, split: Split, accelerator: Accelerator, scorer: Scorer) -> None:
    """Fine-tune `task_model` on `split`; score, and save it with its tokenizer, as the settings ask; write cost.json.

    Resumes from the run's saved state, if there is one. Raises NumbersError if the loss or a gradient is not finite and, once the
    state is saved, Interrupted if a signal arrives, and ScoringError if scoring fails.
    """
    run, settings = scorer.run, task_model.settings
    state = TrainState(task_model, split.features, accelerator)
    plan = state.plan
    logger.info("training: %s rows, %d updates, %d per epoch", f"{len(split):,}", plan.total, plan.updates_per_epoch)
    _load_state(state, scorer)
    progress = Progress("step", plan.total)
    with signals.ending_at_check():
        try:
            _save_and_score(state, tokenizer, scorer)
            while not _has_ended(state, run):
                state.advance()
                if progress.due():
                    progress.show(state.step, _progress_comment(state))
                if state.step % settings.log_every == 0 or state.step == plan.total:
                    _log(state, scorer)
                _save_and_score(state, tokenizer, scorer)
                signals.check()
        except Interrupted as error:
            state.meter.check()
            _save_state(state, scorer)
            saved = f"step {state.step} of {plan.total} is saved; rerun the same command to resume"
            raise Interrupted(error.number, saved) from None
        except ScoringError:
            _save_state(state, scorer)
            raise
    progress.close()
    if state.meter.updates:  # training has stopped early, between two lines of the log
        _log(state, scorer)
    run.finish_training(state.cost() | _early_stop(state, run))


def _has_ended(state: TrainState, run: RunFolder) -> bool:
    """Return whether all updates are made, or `early_stopping_patience` scorings on dev in a row were not better."""
    patience = state.settings.early_stopping_patience
    return state.step == state.plan.total or 0 < patience <= run.history.scorings_since_best()


def _early_stop(state: TrainState, run: RunFolder) -> dict[str, Any]:
    """Return the entry of cost.json about a training that has stopped early, and log it; empty for other trainings."""
    step, planned, history = state.step, state.plan.total, run.history
    if step == planned:
        return {}
    best = history.best_on_dev()
    assert best is not None
    reason = f"{history.headline} on dev has not improved since step {best}; scorings since then: {history.scorings_since_best()}"
    logger.info("training stopped early, at step %d of %d: %s", step, planned, reason)
    return {"stopped_early": {"step": step, "planned_steps": planned, "best_step": best, "reason": reason}}


def _save_and_score(state: TrainState, tokenizer: Any, scorer: Scorer) -> None:
    """Save and score if the settings ask for it at this step; leave out what was done before an interruption."""
    step, settings, run = state.step, state.settings, scorer.run
    saves = step > 0 and (step % settings.save_steps == 0 or _has_ended(state, run))
    scores = step > 0 and step % settings.logging_steps == 0
    if not (scores or saves):
        return
    state.meter.check()
    state.meter.stop_clock()
    if saves and step not in run.checkpoints():
        # The state comes first: a run that resumes from it saves this checkpoint, and prunes, again. Both come before the scores:
        # whatever happens while they are computed, training is kept.
        _save_state(state, scorer)
        with run.new_checkpoint(step) as folder:
            state.save_checkpoint(folder, tokenizer)
    scorer.score(state.task_model, step, splits_to_score(scores, saves, settings))
    if not saves and _has_ended(state, run):
        _save_and_score(state, tokenizer, scorer)  # its score on dev has just made this step the last one
        return
    if saves:
        run.prune()
    state.meter.start_clock()


def splits_to_score(scores: bool, saves: bool, settings: Settings) -> list[str]:
    """Return the splits to score at a step that is at logging_steps (`scores`) or is saved (`saves`).

    A saved checkpoint is scored on dev, which selects among checkpoints. If every checkpoint is to be scored on test, this is
    done at once: the weights are loaded, and pruning depends on the scores. Without do_eval nothing is scored on test.
    """
    during_training = scores and (settings.evaluate_test_during_training or not settings.has_dev)
    on_test = settings.do_eval and (during_training or (saves and settings.eval_all_checkpoints))
    return ["dev", "test"] if on_test else ["dev"]


def _progress_comment(state: TrainState) -> str:
    """Return the measurements of the last updates for the progress bar."""
    now = state.meter.read()
    loss = "not finite" if now["loss"] is None else f"{now['loss']:.4f}"
    return f"loss {loss}, lr {state.learning_rate:.2e}, {now['examples_per_s']:.0f} examples/s"


def _log(state: TrainState, scorer: Scorer) -> None:
    """Write the measurements since the last line into log.jsonl."""
    step, meter = state.step, state.meter
    now, epoch = meter.read(), round(step / state.plan.updates_per_epoch, 4)
    scorer.run.log({"step": step, "epoch": epoch, "learning_rate": state.learning_rate, **now})
    if now["skipped"]:
        logger.warning("%d of the %d updates up to step %d were not finite and were skipped", now["skipped"], meter.updates, step)
    meter.clear()
    scorer.tracker.update()


def _save_state(state: TrainState, scorer: Scorer) -> None:
    """Save the state of training between two updates in the run's folder."""
    saved = state.state_dict() | {"evaluation_seconds": scorer.seconds}
    with scorer.run.new_state() as path:
        write_state(path, saved)


def _load_state(state: TrainState, scorer: Scorer) -> None:
    """Load the saved state, if there is one, and rewind the run's scores and log to its step.

    Raises CheckpointError if the saved state is damaged or of another model.
    """
    run = scorer.run
    if not run.state_file.exists():
        run.rewind(0)
        return
    try:
        saved = read_state(run.state_file)
        state.load_state_dict(saved)
        scorer.seconds, computed = float(saved["evaluation_seconds"]), saved["computed"]
    except DAMAGE as error:
        raise damaged_state(run.state_file, error) from None
    run.rewind(state.step, state.meter.updates)
    logger.info("%s: resuming from step %d", run.folder, state.step)
    if computed != state.computed:
        logger.warning("started %s, resuming %s: results will not be reproducible", computed, state.computed)
