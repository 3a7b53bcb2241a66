"""The search for the best settings of one model on one task: its study, the cells of its trials, and its result."""

import json
import shlex
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from src.data.task import Task
from src.grid.cells import Cell, FindFiles
from src.grid.tune.space import Space, digest, is_tunable
from src.grid.tune.study import Study
from src.grid.tune.trials import tidy
from src.report.record import affecting_scores
from src.runs.grid_folder import GRID, TUNE, tuned_file, write_tuned
from src.settings.schema import COMMAND_LINE, default_of

PLACES = ("config_dir", "data_dir", "ckpt_dir")


@dataclass
class Search:
    """The search for the best settings of a model on a task. `base`: a trial without the settings that are searched."""

    base: Cell
    task: Task
    space: Space
    data: Mapping[str, str]  # split -> sha256
    total: int
    study: Study
    resumed: deque[FrozenTrial]  # trials of an earlier command that are to be continued

    @classmethod
    def open(cls, base: Cell, task: Task, space: Space, total: int, find_files: FindFiles) -> "Search":
        """Open the study of a model and a task. Raises DataError, ConfigError and CheckpointError."""
        data = {split: file.sha256 for split, file in find_files(base.settings).items()}
        seed, settings = base.settings.seed, affecting_scores(base.settings.model_dump(), task.kind)
        changed = {name: value for name, value in settings.items() if name not in space and value != default_of(name)}
        facts = {"space": space, "settings": changed, "data": data, "search": {"seed": seed}}
        usual = {name: getattr(base.settings, name) for name in space}
        study = Study(trials_folder(base), f"{base.model}/{base.task}/{TUNE}", space, seed, facts, usual)
        return cls(base, task, space, data, total, study, deque(study.unfinished))

    @property
    def chosen_by(self) -> str:
        """The flags of run_benchmark.py that choose the model and the task, and where their files are."""
        settings = self.base.settings
        is_path = settings.layer_of("model_name_or_path") == COMMAND_LINE
        model = settings.model_name_or_path if is_path else settings.config_file
        places = [name for name in PLACES if getattr(settings, name) != default_of(name)]
        flags = [word for name in places for word in (f"--{name}", getattr(settings, name))]
        return shlex.join(["--models", model, "--tasks", self.base.flags[1], *flags])

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
        flags += [word for name, value in trial.params.items() for word in (f"--{name}", _as_flag(value))]
        settings = self.base.settings.model_copy(update={"output_dir": output_dir, **trial.params})
        return replace(self.base, flags=tuple(flags), settings=settings)

    def tidy(self) -> None:
        """Remove what is not needed of the trials that have ended: only the best one keeps its checkpoint."""
        best, running = self.study.best, {trial.number for trial in self.study.unfinished}
        for trial in self.study.trials:
            if trial.number not in running:
                tidy(self.cell(trial).folder, keep_checkpoints=best is not None and trial.number == best.number)

    def write_result(self, given: Sequence[str]) -> Path | None:
        """Write the best settings, with those of the command line (`given`) that could have been searched; return the path.

        Returns None if the search is not complete, or no trial is finished.
        """
        best, counts = self.study.best, self.study.counts
        if best is None or sum(counts.values()) < self.total:
            return None
        fixed = {name: getattr(self.base.settings, name) for name in given if is_tunable(name)}
        search = {
            "trials": counts,
            "best": best.number,
            "headline": self.task.headline,
            "dev": best.value,
            "seed": self.study.seed,
            "space": digest(self.space),
            "data": self.data,
        }
        path = tuned_file(Path(self.base.settings.config_dir), self.base.model, self.base.task)
        write_tuned(path, fixed | best.params, search)
        return path


def trials_folder(base: Cell) -> Path:
    """Return the folder of the trials of a model on a task, and of their study."""
    return Path(base.settings.ckpt_dir) / GRID / base.model / base.task / TUNE


def _as_flag(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
