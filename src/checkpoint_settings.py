"""The settings that a checkpoint was trained with, for commands that start from a checkpoint alone."""

from pathlib import Path

from pydantic import ValidationError

from src.errors import CheckpointError, list_problems
from src.files import read_json
from src.run_files import RESULTS, SETTINGS, checkpoints_in
from src.settings import Settings


def read_settings(checkpoint: Path) -> Settings:
    """Return the settings that the checkpoint in a folder was trained with.

    Raises CheckpointError if the folder is not a checkpoint, or its settings are invalid.
    """
    record = read_json(checkpoint / SETTINGS)
    if steps := checkpoints_in(checkpoint):
        selected = read_json(checkpoint / RESULTS).get("selected") or {}
        step = selected.get("step", steps[-1])
        raise CheckpointError(f"{checkpoint} is the folder of a run. Name one of its checkpoints: {checkpoint}/checkpoint-{step}")
    if "settings" not in record or not (checkpoint / "config.json").is_file():
        raise CheckpointError(f"{checkpoint} is not a checkpoint: {SETTINGS} or config.json is missing.")
    values = {name: value for name, value in record["settings"].items() if name in Settings.model_fields}
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise CheckpointError(list_problems(f"{checkpoint / SETTINGS} contains invalid settings:", problems)) from None
