"""Read the run folders of the grid: the records of finished runs, and the names and reasons of all other runs."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from src.data import Task, Tasks
from src.errors import CheckpointError
from src.files import DAMAGE, read_json
from src.grid.cells import GRID, REPORTS, model_name, output_file
from src.grid.record import VIEWS, Cost, Origin, Record, Results
from src.run_folder import COST, LOG_LINES, RESULTS, SETTINGS
from src.run_status import stage_of

MAX_REASON = 300  # characters
TAIL_BYTES = 65_536  # how much of the end of an output is searched for an error
SEED = re.compile(r"seed-(0|[1-9][0-9]*)")

# missing: other cells of the grid have runs with this seed; failed: the last process ended with an error; unfinished: it did not
# end, or left no test scores; damaged: the files cannot be used; ignored: not a run of the grid.
NotReportedKind = Literal["missing", "failed", "unfinished", "damaged", "ignored"]


@dataclass(frozen=True)
class NotReported:
    """A part of the grid that is not in the tables, or whose last attempt failed."""

    kind: NotReportedKind
    place: str  # path relative to the grid
    reason: str


def read_grid(ckpt_dir: Path, tasks: Tasks) -> tuple[list[Record], list[NotReported]]:
    """Return the finished runs of the grid in `ckpt_dir`, and everything else in it.

    Raises CheckpointError if there is no grid.
    """
    root = ckpt_dir / GRID
    if not root.is_dir():
        raise CheckpointError(f"{root}/ does not exist. Run `python3 run_benchmark.py run` first, or pass its --ckpt_dir.")
    records: list[Record] = []
    places, others = _find_runs(root, tasks)
    for place in places:
        try:
            run = _read_run(root / place, place, tasks)
        except (*DAMAGE, ArithmeticError, OSError, CheckpointError) as error:
            run = NotReported("damaged", place, _describe(error))
        if isinstance(run, NotReported):
            others.append(run)
            continue
        records.append(run)
        if failure := _failure_since(run):
            others.append(NotReported("failed", place, f"{failure} (the table shows the earlier, finished run)"))
    return records, others


def _describe(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return shorten(f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return shorten(" ".join(str(error).split()))


def _find_runs(root: Path, tasks: Tasks) -> tuple[list[str], list[NotReported]]:
    """Return <model>/<task>/seed-<n> of every run, and everything else in the grid.

    A run that failed before it made a folder is known by the output of its process.
    """
    places: list[str] = []
    others: list[NotReported] = []

    def ignore(path: Path, reason: str) -> None:
        others.append(NotReported("ignored", str(path.relative_to(root)), reason))

    def list_folder(folder: Path) -> list[Path]:
        try:
            return sorted(path for path in folder.iterdir() if path.name not in REPORTS and path.name[0] != ".")
        except OSError as error:
            others.append(NotReported("damaged", str(folder.relative_to(root)), f"cannot be read: {error.strerror}"))
            return []

    for model in list_folder(root):
        folders = list_folder(model) if model.is_dir() else []
        task_folders = [folder for folder in folders if folder.name in tasks and folder.is_dir()]
        if not task_folders:
            ignore(model, "not a model folder: it holds no task folder")
            continue
        for folder in folders:
            if folder not in task_folders:
                ignore(folder, f"not a task folder; the tasks are {', '.join(tasks)}")
                continue
            for path in list_folder(folder):
                kind = _entry_kind(path)
                if kind == "run" or (kind == "output" and not path.with_suffix("").is_dir()):
                    places.append(str(path.relative_to(root)).removesuffix(".log"))
                elif kind == "earlier run":
                    ignore(path, f"an earlier run of {path.stem}")
                elif kind == "other":
                    ignore(path, "not a run; run folders are named seed-<n>")
    return places, others


def _entry_kind(path: Path) -> Literal["run", "output", "earlier run", "other"]:
    """Return what an entry of a task folder is: seed-1, seed-1.log, seed-1.1, or anything else."""
    seed, _, suffix = path.name.partition(".")
    if not SEED.fullmatch(seed):
        return "other"
    if path.is_dir():
        return "run" if not suffix else "earlier run" if suffix.isdigit() else "other"
    return "output" if suffix == "log" else "other"


def _read_run(folder: Path, place: str, tasks: Tasks) -> Record | NotReported:
    """Return the record of a run if it is finished. Raises one of DAMAGE or CheckpointError if its files cannot be used."""
    stage = stage_of(folder)
    settings, results, cost = (read_json(folder / name) for name in (SETTINGS, RESULTS, COST))
    if stage in ("absent", "foreign"):
        if failure := _failure(folder):
            return NotReported("failed", place, failure)
        if stage == "absent":
            return NotReported("unfinished", place, "it has just started")
        return NotReported("ignored", place, f"not a run: {SETTINGS} is missing")
    model, task, seed = place.split("/")
    number = int(seed.removeprefix("seed-"))
    origin = Origin(**settings)
    expected = {"task": task, "seed": number, "output_dir": f"{GRID}/{place}", "model": model}
    actual = origin.settings | {"model": model_name(origin.settings, origin.layers)}
    if mismatches := [f"{name} {actual.get(name)!r}" for name, value in expected.items() if actual.get(name) != value]:
        return NotReported("ignored", place, f"its {SETTINGS} has {mismatches[0]}")
    if stage == "unfinished":
        failure = _failure(folder)
        return NotReported("failed", place, failure) if failure else NotReported("unfinished", place, _progress(folder))
    if not all((results.get(view) or {}).get("test") for view in VIEWS):
        return NotReported("unfinished", place, "no test scores. Rerun the same command without --do_eval false to add them")
    record = Record(model, task, tasks[task].kind, number, folder, origin, Results(**results), Cost(**cost))
    _require_scores(record, tasks[task])
    return record


def _require_scores(record: Record, task: Task) -> None:
    """Raise CheckpointError if the results lack what the report needs."""
    for choice in (record.choice(view) for view in VIEWS):
        if missing := [name for name in task.scores if name not in choice.test]:
            raise CheckpointError(f"{RESULTS} has no {missing[0]}")
        if record.results.scores.get(str(choice.step), {}).get("test") != choice.test:
            raise CheckpointError(f"{RESULTS} chooses a checkpoint whose scores differ or are missing")


def _progress(folder: Path) -> str:
    for line in reversed(tail(folder / LOG_LINES)):
        with suppress(*DAMAGE):  # the last line may be torn
            return f"training reached step {json.loads(line)['step']} or later"
    return "no training step is logged yet"


def missing_runs(records: Sequence[Record], others: Sequence[NotReported], tasks: Tasks) -> list[NotReported]:
    """Return the seeds that each model lacks on each task of the grid: those that other models or tasks have."""
    started = [run.place for run in others if run.kind in ("failed", "unfinished", "damaged") and run.place.count("/") == 2]
    runs = {*started, *(record.name for record in records)}
    models, used_tasks, seeds = ({run.split("/")[part] for run in runs} for part in range(3))
    numbers = sorted(int(seed.removeprefix("seed-")) for seed in seeds)
    missing = []
    for model in sorted(models):
        for task in (task for task in tasks if task in used_tasks):
            if absent := [str(number) for number in numbers if f"{model}/{task}/seed-{number}" not in runs]:
                missing.append(NotReported("missing", f"{model}/{task}", f"seed {', '.join(absent)}"))
    return missing


def _failure_since(record: Record) -> str:
    """Return the error of an attempt after the run was finished; empty if there was none."""
    output, results = output_file(record.folder), record.folder / RESULTS
    return _failure(record.folder) if output.is_file() and output.stat().st_mtime > results.stat().st_mtime else ""


def _failure(folder: Path) -> str:
    """Return the error that ended the last process of a run; empty if it was interrupted or is still running."""
    message = last_message(output_file(folder))
    return "" if message.startswith("interrupted by") else message


def last_message(output: Path) -> str:
    """Return how a process ended, as one line of its output: its error, or that it was interrupted; empty if neither."""
    lines = [line.strip() for line in tail(output)]
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if errors:
        return shorten(" ".join([lines[errors[-1]].removeprefix("error: "), *lines[errors[-1] + 1 :]]))
    return lines[-1] if lines and lines[-1].startswith("interrupted by") else ""


def tail(path: Path) -> list[str]:
    """Return the lines at the end of a text file, the first of them possibly torn; none if there is no file."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(stream.tell() - TAIL_BYTES, 0))
            return stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def shorten(text: str) -> str:
    """Cut a text to MAX_REASON characters."""
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 3] + "..."
