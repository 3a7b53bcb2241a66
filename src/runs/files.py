"""The files in a run's folder, ckpt/<output_dir>/: their names, and what they say about the run and its checkpoints."""

import json
import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from src.common.errors import CheckpointError, list_problems
from src.common.files import DAMAGE, PARTIAL, digest_folder, read_json, write_json
from src.settings.schema import Settings

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"
RESULTS = "eval_results.json"
RESULT_LINES = "eval_results.txt"
COST = "cost.json"  # written when training has made its last update, planned or by early stopping, not earlier
LOG_LINES = "log.jsonl"
LOG = "train.log"
RESUME = "resume"  # folder of the state that an unfinished training resumes from
STATE = f"{RESUME}/state.safetensors"
SCORES = f"{RESUME}/scores.json"  # of an unfinished training, as ScoreHistory.state_dict returns them
CARD = "README.md"  # of a checkpoint, see src.runs.card
CHOICES = "chosen"  # entry of a checkpoint's settings.json, see record_choices
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


def stage_of(folder: Path) -> Stage:
    """Return how far the run in `folder` has come."""
    if not folder.is_dir() or all(path.name.endswith(PARTIAL) for path in folder.iterdir()):
        return "absent"
    if not (folder / SETTINGS).is_file():
        return "foreign"
    return "finished" if (folder / COST).is_file() and (folder / RESULTS).is_file() else "unfinished"


def read_contents(folder: Path) -> Contents:
    """Return the contents of a run's folder. Raises CheckpointError if settings.json is damaged."""
    return Contents(stage_of(folder), read_json(folder / SETTINGS), checkpoints_in(folder), (folder / STATE).is_file())


def prediction_file(folder: Path, step: int, split: str = "test", name: str = "predictions.tsv") -> Path:
    """Return the path of the predictions of a run's checkpoint on a split, e.g. test/predictions-<step>.tsv."""
    stem, suffix = name.split(".")
    return folder / split / f"{stem}-{step}.{suffix}"


def next_earlier(folder: Path) -> Path:
    """Return the path under which an earlier run in `folder` is kept: <folder>.1, .2, ..."""
    return next(path for n in range(1, 10**6) if not (path := Path(f"{folder}.{n}")).exists())


def checkpoints_in(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a run's folder, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := CHECKPOINT.fullmatch(path.name)) and path.is_dir())


def digest_model(folder: Path) -> str:
    """Return digest_folder of a model's folder; that of a checkpoint leaves out its card, which changes when it is scored."""
    return digest_folder(folder, leave_out={CARD} if (folder / SETTINGS).is_file() else ())


def step_of_line(line: str) -> int:
    """Return the step of a line of log.jsonl; 0 if the line is torn or damaged."""
    try:
        return int(json.loads(line)["step"])
    except DAMAGE:
        return 0


def record_choices(checkpoint: Path, scores: Mapping[str, float]) -> None:
    """Record the settings that scoring a checkpoint has chosen, such as `threshold`: its scores with the name of a setting."""
    choices = {name: value for name, value in scores.items() if name in Settings.model_fields}
    if choices and (checkpoint / SETTINGS).is_file():
        write_json(checkpoint / SETTINGS, read_json(checkpoint / SETTINGS) | {CHOICES: choices})


def read_definition(checkpoint: Path) -> dict[str, Any]:
    """Return the definition of the task that a checkpoint was trained on."""
    return dict(read_json(checkpoint / SETTINGS)["definition"])


def find_checkpoint(folder: Path) -> Path:
    """Return the selected checkpoint of the run in a folder; for any other folder, the folder.

    A run that is not finished has not selected any: read_settings names the last one.
    """
    steps = checkpoints_in(folder)
    selected = (read_json(folder / RESULTS).get("selected") or {}) if steps else {}
    if selected.get("step") not in steps:
        return folder
    checkpoint = folder / f"checkpoint-{selected['step']}"
    logger.info("%s is the folder of a run: using its selected checkpoint, %s", folder, checkpoint.name)
    return checkpoint


def read_settings(checkpoint: Path) -> Settings:
    """Return the settings that the checkpoint in a folder was trained with, and for those in CHOICES what was chosen.

    Raises CheckpointError if the folder is not a checkpoint, or its settings are invalid.
    """
    record = read_json(checkpoint / SETTINGS)
    if steps := checkpoints_in(checkpoint):
        selected = read_json(checkpoint / RESULTS).get("selected") or {}
        step = selected.get("step", steps[-1])
        path = shlex.quote(f"{checkpoint}/checkpoint-{step}")  # to be pasted into a shell
        raise CheckpointError(f"{checkpoint} is the folder of a run. Name one of its checkpoints: {path}")
    if not {"settings", "definition"} <= record.keys() or not (checkpoint / "config.json").is_file():
        raise CheckpointError(
            f"{checkpoint} is not a checkpoint: {SETTINGS} or config.json is missing. Name a folder <run>/checkpoint-<step>."
        )
    given = record["settings"] | record.get(CHOICES, {})
    values = {name: value for name, value in given.items() if name in Settings.model_fields}
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise CheckpointError(list_problems(f"{checkpoint / SETTINGS} contains invalid settings:", problems)) from None
