"""The search for the best settings of one model on one task: its study, its trials as cells with folders, and its result."""

import json
import shlex
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from src.common.errors import CheckpointError
from src.common.files import read_json, remove
from src.data.task import Task
from src.grid.cells import Cell
from src.grid.tune.space import Space, digest, is_tunable
from src.grid.tune.study import Study
from src.metrics.metrics import in_percent
from src.report.record import affecting_scores
from src.runs.files import RESULTS, RESUME, SCORES, SETTINGS, checkpoints_in
from src.runs.grid_folder import GRID, TUNE, tuned_file, write_tuned
from src.settings.aliases import ALIASES
from src.settings.schema import COMMAND_LINE, default_of

PLACES = ("config_dir", "data_dir", "ckpt_dir")
POINTS = range(10, 100, 10)  # percentages of a run at which trials are compared: their numbers of updates differ


@dataclass
class Search:
    """The search for the best settings of a model on a task. `base`: a trial without the settings that are searched."""

    base: Cell
    task: Task
    space: Space
    data: Mapping[str, str]  # split -> sha256
    total: int  # number of trials

    def __post_init__(self) -> None:
        """Open the study. Raises ConfigError if it was made under other conditions, CheckpointError if it is in use."""
        settings, space = self.base.settings, self.space
        changed = {
            name: value
            for name, value in affecting_scores(settings.model_dump(), self.task.kind).items()
            if name not in space and value != default_of(name)
        }
        conditions = {"space": space, "settings": changed, "data": self.data, "search": {"seed": settings.seed}}
        usual = {name: getattr(settings, name) for name in space}
        self.study = Study(trials_folder(self.base), space, settings.seed, conditions, usual)
        self.resumed: deque[FrozenTrial] = deque(self.study.unfinished)  # trials of an earlier command

    @property
    def chosen_by(self) -> str:
        """The flags of run_benchmark.py that choose the model and the task, and where their files are."""
        settings = self.base.settings
        is_path = settings.layer_of("model_name_or_path") == COMMAND_LINE
        model = settings.model_name_or_path if is_path else settings.config_file
        places = [name for name in PLACES if getattr(settings, name) != default_of(name)]
        flags = [word for name in places for word in (f"--{name}", getattr(settings, name))]
        return shlex.join(["--models", model, "--tasks", self.base.flags[1], *flags])

    @property
    def progress(self) -> str:
        """How many trials have ended, and the best one."""
        ended, best = f"{sum(self.study.counts.values())} of {self.total}", self.study.best
        return ended if best is None else f"{ended}; best {in_percent(self.task, best.value or 0.0):.2f}, trial {best.number}"

    def next_trial(self) -> FrozenTrial | None:
        """Return the next trial to run; None if there is none."""
        if self.resumed:
            return self.resumed.popleft()
        return self.study.ask() if len(self.study.trials) < self.total else None

    def cell(self, trial: FrozenTrial) -> Cell:
        """Return the cell of a trial: the same cell whenever it is asked for."""
        output_dir = f"{GRID}/{self.base.model}/{self.base.task}/{TUNE}/trial-{trial.number}"
        flags = list(self.base.flags)
        flags[flags.index("--output_dir") + 1] = output_dir
        for name, value in trial.params.items():
            flags += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        settings = self.base.settings.model_copy(update={"output_dir": output_dir, **trial.params})
        return replace(self.base, flags=tuple(flags), settings=settings)

    def tidy(self) -> None:
        """Remove the saved states of the trials that have ended, and all their checkpoints but those of the best trial."""
        best, running = self.study.best, {trial.number for trial in self.study.unfinished}
        for trial in self.study.trials:
            if trial.number not in running:
                folder = self.cell(trial).folder
                remove(folder / RESUME)
                for step in checkpoints_in(folder) if best is None or trial.number != best.number else ():
                    remove(folder / f"checkpoint-{step}")

    def write_result(self, given: Mapping[str, str]) -> Path | None:
        """Write the best settings, with those of the command line (`given`) that could have been searched; return the path.

        Returns None if the search is not complete, or no trial is finished.
        """
        best, counts = self.study.best, self.study.counts
        if best is None or sum(counts.values()) < self.total:
            return None
        names = [name for alias in given if is_tunable(name := ALIASES.get(alias, alias))]
        search = {
            "trials": counts,
            "best": best.number,
            "headline": self.task.headline,
            "dev": best.value,
            "seed": self.base.settings.seed,
            "space": digest(self.space),
            "data": self.data,
        }
        path = tuned_file(Path(self.base.settings.config_dir), self.base.model, self.base.task)
        write_tuned(path, {name: getattr(self.base.settings, name) for name in names} | best.params, search)
        return path


def trials_folder(base: Cell) -> Path:
    """Return the folder of the trials of a model on a task, and of their study."""
    return Path(base.settings.ckpt_dir) / GRID / base.model / base.task / TUNE


def read_points(folder: Path, headline: str) -> dict[int, float]:
    """Return the best score on dev up to each of POINTS that the run in `folder` has passed with an evaluation.

    Raises one of DAMAGE or CheckpointError if its files are damaged, or are just being replaced.
    """
    updates = read_json(folder / SETTINGS).get("updates")
    if not updates:
        return {}
    saved = read_json(folder / RESULTS) or read_json(folder / SCORES)
    scores = {int(step): splits["dev"][headline] for step, splits in saved.get("scores", {}).items() if "dev" in splits}
    return points_of(scores, updates)


def points_of(scores: Mapping[int, float], updates: int) -> dict[int, float]:
    """Return the best of the scores, by step, up to each of POINTS. Points beyond the last score are left out."""
    last = max(scores, default=0)
    points = {}
    for percent in POINTS:
        earlier = [score for step, score in scores.items() if 100 * step <= percent * updates]
        if earlier and percent * updates <= 100 * last:
            points[percent] = max(earlier)
    return points


def read_score(folder: Path, headline: str) -> float:
    """Return the score on dev of the checkpoint that a finished run selected. Raises CheckpointError if there is none."""
    selected: dict[str, Any] = read_json(folder / RESULTS).get("selected") or {}
    score = (selected.get("dev") or {}).get(headline)
    if score is None:
        raise CheckpointError(f"{folder / RESULTS} has no {headline} on dev.")
    return float(score)
