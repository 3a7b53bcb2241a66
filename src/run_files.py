"""The files in a run's folder, ckpt/<output_dir>/: their names, and how far a run has come as judged by them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from src.files import read_json

SETTINGS = "settings.json"
RESULTS = "eval_results.json"
RESULT_LINES = "eval_results.txt"
COST = "cost.json"  # written when training has made its last update, not earlier
LOG_LINES = "log.jsonl"
LOG = "train.log"
RESUME = "resume"  # folder of the state that an unfinished training resumes from
STATE = "state.safetensors"
PARTIAL = ".partial"  # ends the name of a file or folder that is still being written
CHECKPOINT = re.compile(r"checkpoint-(\d+)")

# How far a run has come. "absent": no folder, or nothing in it but half-written files; "foreign": files, but no settings.json;
# "unfinished": training has not made its last update, or results are missing.
Stage = Literal["absent", "foreign", "unfinished", "finished"]


@dataclass(frozen=True)
class Contents:
    """The contents of a run's folder that decide how it can be used."""

    stage: Stage = "absent"
    record: Mapping[str, Any] = field(default_factory=dict)  # settings.json; empty if there is none
    checkpoints: list[int] = field(default_factory=list)  # steps, ascending
    has_state: bool = False  # whether there is a saved state to resume from

    @property
    def finished(self) -> bool:
        """Whether training is finished."""
        return self.stage == "finished"


def stage_of(folder: Path) -> Stage:
    """Return how far the run in `folder` has come. The one place that knows which files mark it."""
    if not folder.is_dir() or all(path.name.endswith(PARTIAL) for path in folder.iterdir()):
        return "absent"
    if not (folder / SETTINGS).is_file():
        return "foreign"
    return "finished" if (folder / COST).is_file() and (folder / RESULTS).is_file() else "unfinished"


def read_contents(folder: Path) -> Contents:
    """Return the contents of a run's folder. Raises CheckpointError if settings.json is damaged."""
    record = read_json(folder / SETTINGS)
    return Contents(stage_of(folder), record, checkpoints_in(folder), state_file(folder).is_file())


def state_file(folder: Path) -> Path:
    """Return the path of the saved state of training in a run's folder."""
    return folder / RESUME / STATE


def prediction_file(folder: Path, step: int, split: str = "test", name: str = "predictions.tsv") -> Path:
    """Return the path of the predictions of a run's checkpoint on a split, e.g. test/predictions-<step>.tsv."""
    stem, suffix = name.split(".")
    return folder / split / f"{stem}-{step}.{suffix}"


def checkpoints_in(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a run's folder, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := CHECKPOINT.fullmatch(path.name)) and path.is_dir())
