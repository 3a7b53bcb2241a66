"""The status of the folder that a run is to use: whether there is a run, and whether this one resumes, scores or replaces it."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from src.common.errors import CheckpointError, quote
from src.common.files import DAMAGE, damaged, read_json
from src.data.task import DESCRIPTIVE_FIELDS, DataFile, Task
from src.runs.files import RESULTS, SCORES, SETTINGS, Contents, digest_model, read_contents
from src.runs.folder import RunFolder, State
from src.runs.scores import ScoreHistory
from src.settings.class_weights import given_weights
from src.settings.schema import Settings, affects, default_of

SCORE_FIELDS = [field for field in Task.model_fields if field not in DESCRIPTIVE_FIELDS]


def find_run(
    settings: Settings, task: Task, files: Mapping[str, DataFile], digest: Callable[[Path], str] = digest_model
) -> RunFolder:
    """Return the run's folder with its status, without changing anything on disk. `digest`: that of a local model folder.

    Raises CheckpointError if the folder holds files but no run, if its records are damaged, if it is to be replaced and holds
    what the new run reads, and if --do_train false finds no checkpoint, or checkpoints of a run with other settings or data.
    Raises ConfigError if class_weights names an invalid file.
    """
    if settings.do_train and settings.weights_file:
        given_weights(settings, task)
    model = Path(settings.model_name_or_path)
    weights = digest(model) if settings.do_train and model.is_dir() else None
    try:
        contents = Contents() if settings.features_only else read_contents(settings.run_folder)
        difference = partial(_difference, contents, settings, task, files, weights)
        state, reason = _status(contents, settings, difference)
        if state == "replace":
            _refuse_removing(settings, files)
        if state in ("score", "trained"):
            data = {split: dict(entry) for split, entry in contents.record["data"].items()}
            changed_outputs = _changed_outputs(contents, settings)
            scores = {} if changed_outputs else _saved_scores(settings.run_folder, state)
        else:
            data, changed_outputs, scores = _data_entries(files, settings), {}, {}
        history = ScoreHistory(task.headline, [split for split in ("dev", "test") if split in data])
        history.load_state_dict(scores)
    except DAMAGE as error:
        raise damaged(settings.run_folder, error) from None
    return RunFolder(settings, weights, contents, state, reason, history, data, changed_outputs)


def _refuse_removing(settings: Settings, files: Mapping[str, DataFile]) -> None:
    """Raise CheckpointError if a file or a model that the run reads is in its folder, which is about to be removed or renamed."""
    paths = [*(file.path for file in files.values()), Path(settings.model_name_or_path), settings.weights_file]
    inside = [path for path in paths if path and path.exists() and path.resolve().is_relative_to(settings.run_folder.resolve())]
    if inside:
        raise CheckpointError(
            f"{settings.run_folder} holds an earlier run, which would be replaced together with {inside[0]}, which this one "
            "reads. Use another --output_dir."
        )


def _status(contents: Contents, settings: Settings, difference: Callable[[], str]) -> tuple[State, str]:
    """Return the state of the run's folder and, if the run in it is to be replaced, the reason; see _difference."""
    if settings.features_only:
        return "new", ""
    folder = settings.run_folder
    if not settings.do_train:
        if not contents.checkpoints or not contents.record:
            raise CheckpointError(f"{folder} holds no checkpoint to score. Train first, or name a run with --output_dir.")
        if differs := difference():
            raise CheckpointError(f"{folder} holds a run with other settings ({differs}). Use the same, or --output_dir.")
        return ("trained" if contents.stage == "finished" else "score"), ""
    if contents.stage == "absent":
        return "new", ""
    if contents.stage == "foreign" or not contents.record:
        raise CheckpointError(f"{folder} holds files, but no run ({SETTINGS} is missing). Move it away, or use --output_dir.")
    if reason := _reason_to_replace(contents, settings, difference):
        return "replace", reason
    return ("trained" if contents.stage == "finished" else "resume"), ""


def _reason_to_replace(contents: Contents, settings: Settings, difference: Callable[[], str]) -> str:
    """Return why the run in the folder cannot be continued; empty if it can."""
    if settings.overwrites:
        return "holds an earlier run"
    if not settings.resume:
        return "holds an earlier run (--resume false)"
    if differs := difference():
        return f"holds a run with other settings ({differs})"
    if contents.stage != "finished" and contents.checkpoints and not contents.has_state:
        return "holds a run that did not finish training and left no state to resume from"
    return ""


def _difference(contents: Contents, settings: Settings, task: Task, files: Mapping[str, DataFile], weights: str | None) -> str:
    """Return what differs from the recorded run and can change a score: settings, task, data or model files; "" if nothing."""
    record = contents.record
    if not {"settings", "data"} <= record.keys():
        raise CheckpointError(f"{settings.run_folder / SETTINGS} is not of a run. Move its folder away and run again.")
    # If only the outputs differ, a finished run is scored again. An unfinished run would end with scores of both kinds.
    relevant = {"scores", "training" if settings.do_train else "", "" if contents.stage == "finished" else "outputs"}
    old, new = record["settings"], settings.model_dump()
    pairs = [(name, old.get(name, default_of(name)), new[name]) for name in new if affects(name) in relevant]
    differences = [f"{name} {before!r}, now {now!r}" for name, before, now in pairs if before != now]
    if (
        settings.do_train
        and settings.weights_file
        and (given := given_weights(settings, task))
        and given != record.get("class_weights", given)
    ):
        differences.append(f"other weights in {settings.class_weights}")
    changed = _changed_fields(record["definition"], task.model_dump(mode="json", exclude_defaults=True))
    differences += [f"{field} of the task {quote(before)}, now {quote(now)}" for field, before, now in changed]
    data = record["data"]
    differences += [f"another {split} file" for split in files if split in data and data[split]["sha256"] != files[split].sha256]
    if weights and weights != record.get("weights"):
        differences.append(f"other files in {settings.model_name_or_path}")
    return "; ".join(differences)


def _changed_fields(recorded: Mapping[str, Any], definition: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the fields of a task's definition that change scores and differ, with both values."""
    # Labels that a definition leaves out are those of the training file, whose digest is compared.
    fields = [field for field in SCORE_FIELDS if field != "labels" or field in definition]
    pairs = [(field, recorded.get(field), definition.get(field)) for field in fields]
    # As text: the order of labels matters.
    return [(field, before, now) for field, before, now in pairs if json.dumps(before) != json.dumps(now)]


def _changed_outputs(contents: Contents, settings: Settings) -> dict[str, Any]:
    """Return the settings that change how outputs become scores and differ from the recorded ones."""
    old, new = contents.record["settings"], settings.model_dump() if settings.do_eval else {}
    return {name: value for name, value in new.items() if affects(name) == "outputs" and old.get(name, value) != value}


def _saved_scores(folder: Path, state: State) -> dict[str, Any]:
    """Return the scores and cautions of a run: those in its results, and of an unfinished one also those it has saved."""
    results = read_json(folder / RESULTS)
    saved = read_json(folder / SCORES) if state == "score" else {}
    tables = {}
    for name in ("scores", "cautions"):
        old, new = saved.get(name, {}), results.get(name, {})
        tables[name] = {step: old.get(step, {}) | new.get(step, {}) for step in old.keys() | new.keys()}
    return tables


def _data_entries(files: Mapping[str, DataFile], settings: Settings) -> dict[str, dict[str, Any]]:
    """Return split -> its entry of `data` in settings.json; `rows` is filled in once the file has been read."""
    data: dict[str, dict[str, Any]] = {
        split: {"file": str(file.path), "status": file.status, "sha256": file.sha256, "rows": None}
        for split, file in files.items()
    }
    return data | {split: {**data["train"], "held_out": ratio} for split, ratio in settings.held_out.items()}
