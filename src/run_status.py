"""What an earlier run has left in the folder of this one: nothing, itself, what it can go on from, or another that gives way."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from src.data import DataFile, Scores
from src.errors import CheckpointError, list_problems
from src.files import DAMAGE, damaged, digest_folder, read_facts, read_json
from src.run_folder import COST, PARTIAL, RESULTS, RESUME, SETTINGS, STATE, RunFolder, State, checkpoints_in, overwrites
from src.scores import ScoreHistory
from src.settings import Settings, affects

# How far the run in a folder has come, judged by its files alone. "absent": no folder, or nothing in it but half-written files;
# "foreign": files, but no settings.json; "unfinished": training has not reached its last update, or results are missing.
Stage = Literal["absent", "foreign", "unfinished", "finished"]


def stage_of(folder: Path) -> Stage:
    """Return how far the run in `folder` has come. The one place that knows which files mark it."""
    if not folder.is_dir() or all(path.name.endswith(PARTIAL) for path in folder.iterdir()):
        return "absent"
    if not (folder / SETTINGS).is_file():
        return "foreign"
    return "finished" if (folder / COST).is_file() and (folder / RESULTS).is_file() else "unfinished"


def find_run(
    settings: Settings, headline: str, files: Mapping[str, DataFile], digest: Callable[[Path], str] = digest_folder
) -> RunFolder:
    """What the run's folder holds, without changing it. `digest`: that of a local model folder.

    Raises CheckpointError where it holds what no run has written, where its record is damaged, and where --do_train false
    finds no checkpoint or one of other settings or data.
    """
    model = Path(settings.model_name_or_path)
    weights = digest(model) if settings.do_train and model.is_dir() else None
    try:
        return _found(settings, headline, files, weights)
    except DAMAGE as error:
        raise damaged(settings.run_folder, error) from None


def _found(settings: Settings, headline: str, files: Mapping[str, DataFile], weights: str | None) -> RunFolder:
    state, why, earlier = _look(settings, files, weights)
    data: dict[str, dict[str, Any]] = {
        split: {"file": str(file.path), "status": file.status, "sha256": file.sha256, "rows": None}
        for split, file in files.items()
    }
    if settings.holds_out:
        data["dev"] = {**data["train"], "held_out": settings.dev_ratio}
    if state in ("partial", "trained"):
        data = earlier["data"]
    history = ScoreHistory(headline, [split for split in ("dev", "test") if split in data])
    rescored: dict[str, Any] = {}
    if state in ("partial", "trained"):
        before = earlier["settings"]
        values = settings.model_dump() if settings.do_eval else {}
        rescored = {name: new for name, new in values.items() if affects(name) == "outputs" and before.get(name, new) != new}
        if not rescored:
            history.scores = _scores_in(settings.run_folder, state)
    return RunFolder(settings, files, weights, state, why, history, data, rescored, lambda: _look(settings, files, weights)[:2])


def _scores_in(folder: Path, state: State) -> dict[int, dict[str, Scores]]:
    """The scores of a run so far: those of its results, and of an unfinished one those that its training kept."""
    scores = read_json(folder / RESULTS).get("scores", {})
    kept = folder / RESUME / STATE
    if state == "partial" and kept.is_file():
        before = read_facts(kept)["scores"]
        scores = {step: before.get(step, {}) | scores.get(step, {}) for step in before.keys() | scores.keys()}
    return {int(step): splits for step, splits in scores.items()}


def _look(settings: Settings, files: Mapping[str, DataFile], weights: str | None) -> tuple[State, str, dict[str, Any]]:
    """The state of the run's folder, why a run there has to give way, and its settings.json."""
    if settings.features_only:
        return "absent", "", {}
    folder = settings.run_folder
    earlier = read_json(folder / SETTINGS)
    stage = stage_of(folder)
    trained = stage == "finished"
    if not settings.do_train:
        if not checkpoints_in(folder) or not earlier:
            raise CheckpointError(f"{folder} holds no checkpoint to score. Train first, or name a run with --output_dir.")
        if difference := _difference(earlier, settings, files, weights, trained):
            raise CheckpointError(f"{folder} holds a run with other settings ({difference}). Give the same, or --output_dir.")
        return "trained" if trained else "partial", "", earlier
    if stage == "absent":
        return "absent", "", {}
    if stage == "foreign" or not earlier:
        raise CheckpointError(
            f"{folder} holds files, but none of a run (no {SETTINGS}). Move it away, or give another --output_dir."
        )
    if why := _why_it_gives_way(earlier, settings, files, weights, trained):
        return "in the way", why, earlier
    return "trained" if trained else "unfinished", "", earlier


def _why_it_gives_way(
    earlier: Mapping[str, Any], settings: Settings, files: Mapping[str, DataFile], weights: str | None, trained: bool
) -> str:
    folder = settings.run_folder
    if overwrites(settings):
        return "holds an earlier run"
    if not settings.resume:
        return "holds an earlier run (--resume false)"
    if difference := _difference(earlier, settings, files, weights, trained):
        return f"holds a run with other settings ({difference})"
    if not trained and checkpoints_in(folder) and not (folder / RESUME / STATE).is_file():
        return "holds a run that did not finish training and left no state to go on from"
    return ""


def _difference(
    earlier: Mapping[str, Any], settings: Settings, files: Mapping[str, DataFile], weights: str | None, trained: bool
) -> str:
    """What can change a score and is not the same: settings, data files, the model's files; empty where nothing is."""
    if not {"settings", "data"} <= earlier.keys():
        raise CheckpointError(f"{settings.run_folder / SETTINGS} is not a run's. Move its folder away and run again.")
    # A finished run is scored anew for other outputs; of an unfinished one some scores would be of one kind, some of the other.
    matters = {"scores", "training" if settings.do_train else "", "" if trained else "outputs"}
    old, new = earlier["settings"], settings.model_dump()
    names = [name for name in new if affects(name) in matters and old.get(name) != new[name]]
    found = [f"{name} {old.get(name)!r}, now {new[name]!r}" for name in names]
    recorded = earlier["data"]
    found += [
        f"another {split} file" for split in files if split in recorded and recorded[split]["sha256"] != files[split].sha256
    ]
    if weights and weights != earlier.get("weights"):
        found.append(f"other files in {settings.model_name_or_path}")
    return "; ".join(found)


def read_settings(checkpoint: Path) -> Settings:
    """The settings that the checkpoint in a folder was trained with. Raises CheckpointError where none is there."""
    record = read_json(checkpoint / SETTINGS)
    steps = checkpoints_in(checkpoint)
    if steps:
        chosen = read_json(checkpoint / RESULTS).get("selected", {}).get("step", steps[-1])
        raise CheckpointError(
            f"{checkpoint} is the folder of a run. Name one of its checkpoints: {checkpoint}/checkpoint-{chosen}"
        )
    if "settings" not in record or not (checkpoint / "config.json").is_file():
        raise CheckpointError(f"{checkpoint} is no checkpoint of a run: {SETTINGS} and config.json belong there.")
    known = {name: value for name, value in record["settings"].items() if name in Settings.model_fields}
    try:
        return Settings(**known)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise CheckpointError(list_problems(f"{checkpoint / SETTINGS} holds settings that cannot be:", problems)) from None
