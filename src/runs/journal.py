"""The journal of a search, in which Optuna keeps the trials of a model on a task, for reading. Optuna is imported when needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

JOURNAL = "study.log"  # in the folder of the trials
NAME = "study"  # of the only study in a journal
STATES = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}  # how a trial ended -> the name that Optuna has for it
TRIALS_FOR_IMPORTANCE = 4  # finished, with different scores


def storage_of(folder: Path) -> Any:
    """Return the storage of the journal in a folder."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


def load_study(folder: Path) -> Any:
    """Return the study in a folder, to be read only. Raises KeyError or ValueError if it is damaged."""
    import optuna

    return optuna.load_study(storage=storage_of(folder), study_name=NAME)


def read_trials(folder: Path) -> Sequence["FrozenTrial"]:
    """Return the trials of the study in a folder, none if there is no study. Raises KeyError or ValueError if it is damaged."""
    return load_study(folder).trials if (folder / JOURNAL).is_file() else []


def count_states(trials: Sequence["FrozenTrial"]) -> dict[str, int]:
    """Return the number of trials by how they ended."""
    return {name: sum(trial.state.name == state for trial in trials) for name, state in STATES.items()}


def read_importance(folder: Path) -> dict[str, float]:
    """Return the importance of each setting by Optuna's fANOVA, from 0 to 1, in descending order; empty if trials are too few."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study = load_study(folder)
    scores = {trial.value for trial in study.trials if trial.state.name == STATES["finished"]}
    if len(scores) < TRIALS_FOR_IMPORTANCE:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
