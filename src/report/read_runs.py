"""Read the run folders of grids: the records of finished runs, and the names and reasons of all other runs."""

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from src.common.errors import MAX_LINE, CheckpointError, shorten
from src.common.files import DAMAGE, read_json
from src.data.task import Tasks
from src.report.record import VIEWS, Cost, Origin, Record, Results
from src.runs.files import COST, LOG_LINES, RESULTS, SETTINGS, stage_of
from src.runs.grid_folder import GRID, REPORTS, TUNE, model_name, output_file

TAIL_BYTES = 65_536  # how much of the end of an output is searched for an error
# Entries of a task folder: a run (seed-1), the output of its process (seed-1.log), an earlier run (seed-1.1).
ENTRY = re.compile(r"seed-(?:0|[1-9][0-9]*)(\.log|\.[0-9]+)?")

# missing: other cells of the grid have runs with this seed; failed: the last process ended with an error; unfinished: it did not
# end, or left no test scores; damaged: the files cannot be used; duplicate: a merged grid has another result for the same seed;
# ignored: not a run of the grid.
NotReportedKind = Literal["missing", "failed", "unfinished", "damaged", "duplicate", "ignored"]


@dataclass(frozen=True)
class NotReported:
    """A part of the grid that is not in the tables, or whose last attempt failed."""

    kind: NotReportedKind
    place: str  # path relative to the grid
    reason: str


def folders_to_read(ckpt_dir: Path, merged: Iterable[Path]) -> list[Path]:
    """Return the folders whose grids are read, each once: `ckpt_dir`, which needs no grid if there are others, and `merged`."""
    folders: dict[Path, Path] = {}
    for folder in (ckpt_dir, *merged):
        folders.setdefault(folder.resolve(), folder)
    has_own = (ckpt_dir / GRID).is_dir() or len(folders) == 1
    return list(folders.values())[0 if has_own else 1 :]


def read_grids(ckpt_dirs: Sequence[Path], tasks: Tasks) -> tuple[list[Record], list[NotReported]]:
    """Return the finished runs of all grids, and everything else in them. Raises CheckpointError if one does not exist.

    Two results of the same model, task and seed are not two seeds: the first counts. A second one that is not the same is among
    the runs that are not reported.
    """
    runs: dict[str, Record] = {}
    others: list[NotReported] = []
    for ckpt_dir in ckpt_dirs:
        records, not_reported = read_grid(ckpt_dir, tasks)
        where = f" (in {ckpt_dir / GRID})" if len(ckpt_dirs) > 1 else ""
        others += [replace(run, reason=run.reason + where) for run in not_reported]
        for record in records:
            first = runs.setdefault(record.name, record)
            if record.results != first.results:
                reason = f"{record.folder} has another result for this seed; the tables have that of {first.folder}"
                others.append(NotReported("duplicate", record.name, reason))
    return list(runs.values()), others


def read_grid(ckpt_dir: Path, tasks: Tasks) -> tuple[list[Record], list[NotReported]]:
    """Return the finished runs of the grid in `ckpt_dir`, and everything else in it.

    Raises CheckpointError if there is no grid.
    """
    root = ckpt_dir / GRID
    if not root.is_dir():
        raise CheckpointError(
            f"{root}/ does not exist. Name the --ckpt_dir of finished runs, or run `python3 run_benchmark.py run` first."
        )
    records: list[Record] = []
    places, others = _find_runs(root, tasks)
    for place in places:
        try:
            run = _read_run(root / place, place, tasks)
        except (*DAMAGE, ArithmeticError, OSError, CheckpointError) as error:
            run = NotReported("damaged", place, reason_of(error))
        if isinstance(run, NotReported):
            others.append(run)
            continue
        records.append(run)
        output, results = output_file(run.folder), run.folder / RESULTS
        if output.is_file() and output.stat().st_mtime > results.stat().st_mtime and (failure := _failure(run.folder)):
            others.append(NotReported("failed", place, f"{failure} (the table shows the earlier, finished run)"))
    return records, others


def reason_of(error: Exception) -> str:
    """Return on one line why a file cannot be used."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return shorten(f"{error.title}: {'.'.join(map(str, first['loc']))}: {first['msg']}", MAX_LINE)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return shorten(" ".join(str(error).split()), MAX_LINE)


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
            hidden = REPORTS if folder == root else ()
            return sorted(path for path in folder.iterdir() if path.name not in hidden and path.name[0] != ".")
        except OSError as error:
            others.append(NotReported("damaged", str(folder.relative_to(root)), f"cannot be read: {error.strerror}"))
            return []

    for model in list_folder(root):
        folders = list_folder(model) if model.is_dir() else []
        task_folders = [folder for folder in folders if folder.name in tasks and folder.is_dir()]
        if not task_folders:
            ignore(model, "not a model folder: it holds no task folder")
            continue
        for folder in (folder for folder in folders if folder not in task_folders):
            ignore(folder, f"not a task folder; the tasks are {', '.join(tasks)}")
        for folder in task_folders:
            for path in (path for path in list_folder(folder) if path.name != TUNE):
                entry = ENTRY.fullmatch(path.name)
                is_output = entry is not None and entry[1] == ".log"
                if not entry or path.is_dir() == is_output:
                    ignore(path, "not a run; run folders are named seed-<n>")
                elif entry[1] and not is_output:
                    ignore(path, f"an earlier run of {path.stem}")
                elif not is_output or not path.with_suffix("").is_dir():
                    places.append(str(path.relative_to(root).with_suffix("")))
    return places, others


def _read_run(folder: Path, place: str, tasks: Tasks) -> Record | NotReported:
    """Return the record of a run if it is finished. Raises one of DAMAGE or CheckpointError if its files cannot be used."""
    stage, failure = stage_of(folder), _failure(folder)
    settings, results, cost = (read_json(folder / name) for name in (SETTINGS, RESULTS, COST))
    if stage in ("absent", "foreign"):
        if failure:
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
        return NotReported("failed", place, failure) if failure else NotReported("unfinished", place, _progress(folder))
    if not all((results.get(view) or {}).get("test") for view in VIEWS):
        return NotReported("unfinished", place, "no test scores. Rerun the same command without --do_eval false to add them")
    record = Record(model, task, tasks[task].kind, number, folder, origin, Results(**results), Cost(**cost))
    for choice in (record.choice(view) for view in VIEWS):
        if missing := [name for name in tasks[task].scores if name not in choice.test]:
            raise CheckpointError(f"{RESULTS} has no {missing[0]}")
        if record.results.scores.get(str(choice.step), {}).get("test") != choice.test:
            raise CheckpointError(f"{RESULTS} chooses a checkpoint whose scores differ or are missing")
    return record


def _progress(folder: Path) -> str:
    for line in reversed(tail(folder / LOG_LINES)):
        with suppress(*DAMAGE):  # the last line may be torn
            return f"training reached step {json.loads(line)['step']} or later"
    return "no training step is logged yet"


def missing_runs(records: Sequence[Record], others: Sequence[NotReported], tasks: Tasks) -> list[NotReported]:
    """Return the seeds that each model lacks on each task of the grid: those that other models or tasks have."""
    started = [run.place for run in others if run.kind in ("failed", "unfinished", "damaged") and run.place.count("/") == 2]
    runs = {*started, *(record.name for record in records)}
    models, used_tasks, seeds = (sorted({run.split("/")[part] for run in runs}) for part in range(3))
    numbers = sorted(int(seed.removeprefix("seed-")) for seed in seeds)
    missing = []
    for model in models:
        for task in (task for task in tasks if task in used_tasks):
            if absent := [str(number) for number in numbers if f"{model}/{task}/seed-{number}" not in runs]:
                missing.append(NotReported("missing", f"{model}/{task}", f"seed {', '.join(absent)}"))
    return missing


def _failure(folder: Path) -> str:
    """Return the error that ended the last process of a run; empty if it was interrupted or is still running."""
    message = last_message(output_file(folder))
    return "" if message.startswith("interrupted by") else message


def last_message(output: Path) -> str:
    """Return how a process ended, as one line of its output: its error, or that it was interrupted; empty if neither."""
    lines = [line.strip() for line in tail(output)]
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if errors:
        return shorten(" ".join([lines[errors[-1]].removeprefix("error: "), *lines[errors[-1] + 1 :]]), MAX_LINE)
    return lines[-1] if lines and lines[-1].startswith("interrupted by") else ""


def last_line(output: Path) -> str:
    """Return the last line of a text file that is not blank; empty if there is none."""
    return next((line.strip() for line in reversed(tail(output)) if line.strip()), "")


def tail(path: Path) -> list[str]:
    """Return the lines at the end of a text file, the first of them possibly torn; none if there is no file."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(stream.tell() - TAIL_BYTES, 0))
            return stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
