"""The history of searches for the report: the trials of each study of the grid. Needs Optuna only if there is one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from src.common.errors import brief
from src.common.files import DAMAGE
from src.runs.grid_folder import TUNE
from src.runs.journal import JOURNAL, STATES, read_importance, read_trials

NAMES = {state: name for name, state in STATES.items()}


@dataclass(frozen=True)
class TrialLine:
    """A trial that has ended: how (finished, pruned, failed), and its last score, if it has one."""

    number: int
    state: str
    score: float | None


@dataclass(frozen=True)
class History:
    """The trials of a model on a task, and the importance of each setting. `note`: why there are none."""

    model: str
    task: str
    trials: Sequence[TrialLine] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def read_histories(grid: Path) -> Iterator[History]:
    """Yield the history of every search in a grid, by model and task."""
    for folder in sorted(journal.parent for journal in grid.glob(f"*/*/{TUNE}/{JOURNAL}")):
        model, task, _ = folder.relative_to(grid).parts
        try:
            ended = [trial for trial in read_trials(folder) if trial.state.name in NAMES]
            trials = [TrialLine(trial.number, NAMES[trial.state.name], trial.value) for trial in ended]
            yield History(model, task, trials, read_importance(folder))
        except ModuleNotFoundError as error:
            yield History(model, task, note=f"Not shown: {error}. To see it: pip install -r requirements-tune.txt")
        except (*DAMAGE, OSError) as error:
            yield History(model, task, note=f"{folder / JOURNAL} cannot be read: {brief(error)}")
