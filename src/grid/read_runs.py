"""What the folders of the grid hold: the records of finished runs, and by name everything that is no finished run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from src.errors import CheckpointError
from src.files import DAMAGE, read_json
from src.grid.cells import GRID, WRITTEN, Task, name_of, output_of
from src.grid.record import VIEWS, Cost, Origin, Record, Results, scores_of
from src.run_folder import COST, LOG_LINES, RESULTS, SETTINGS

MAX_WORDS = 300  # characters of a process's last words
TAIL = 65_536  # bytes at the end of an output, among which they are


@dataclass(frozen=True)
class Left:
    """What lies in the grid and is no finished run, or failed after one: failed, unfinished, unscored, damaged, foreign, ..."""

    kind: str
    place: str  # relative to the grid
    why: str


def read_grid(ckpt_dir: Path, known: Mapping[str, Task]) -> tuple[list[Record], list[Left]]:
    """Every finished run of the grid in `ckpt_dir`, and what else lies there.

    Raises CheckpointError where there is no grid.
    """
    root = ckpt_dir / GRID
    if not root.is_dir():
        raise CheckpointError(f"{root}/ is not there. `python3 run_benchmark.py run` makes it; --ckpt_dir says where it lies.")
    records: list[Record] = []
    left: list[Left] = []
    for place in _places(root, known, left):
        try:
            found = _read(root / place, place, known)
            if isinstance(found, Record) and (failure := _failure_since(found)):
                left.append(Left("failed", place, f"{failure} (in the table is what was finished before)"))
        except (*DAMAGE, ArithmeticError, OSError, CheckpointError) as error:
            found = Left("damaged", place, _in_words(error))
        if isinstance(found, Record):
            records.append(found)
        else:
            left.append(found)
    return records, left


def _in_words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return shorten([f"{error.title} without a good {'.'.join(map(str, first['loc']))}:", first["msg"]])
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return shorten(str(error).split())


def _places(root: Path, known: Mapping[str, Task], left: list[Left]) -> Iterator[str]:
    """<model>/<task>/seed-<n> of every run, also of those that have no folder, as their process failed before it made one."""

    def foreign(path: Path, why: str) -> None:
        left.append(Left("foreign", str(path.relative_to(root)), why))

    def visible(folder: Path) -> list[Path]:
        try:
            return sorted(path for path in folder.iterdir() if not path.name.startswith("."))  # no locks, nothing half written
        except OSError as error:
            left.append(Left("damaged", str(folder.relative_to(root)), f"it cannot be read: {error.strerror}"))
            return []

    for model in visible(root):
        tasks = [] if model.name in WRITTEN else visible(model) if model.is_dir() else [model]
        if model.name not in WRITTEN and not any(task.name in known and task.is_dir() for task in tasks):
            foreign(model, "no model's folder: it holds no task's")
            continue
        for task in tasks:
            if task.name not in known or not task.is_dir():
                foreign(task, f"no task's folder; those are {', '.join(known)}")
                continue
            for path in visible(task):
                what = _what(path)
                if what == "run":
                    yield f"{model.name}/{task.name}/{path.name.removesuffix('.log')}"
                elif what == "put aside":
                    left.append(Left(what, str(path.relative_to(root)), f"an earlier run of {path.stem}"))
                elif what == "foreign":
                    foreign(path, "no run's folder; those are called seed-<n>")


def _what(path: Path) -> str:
    """What lies in a task's folder: a run (or the output of one that has no folder), an output, a run put aside, or foreign."""
    seed, _, rest = path.name.partition(".")
    if seed.startswith("seed-") and _is_number(seed.removeprefix("seed-")):
        if path.is_dir() and (not rest or _is_number(rest)):
            return "put aside" if rest else "run"
        if path.is_file() and rest == "log":
            return "output" if path.with_suffix("").is_dir() else "run"
    return "foreign"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text


def _read(folder: Path, place: str, known: Mapping[str, Task]) -> Record | Left:
    record, results, cost = (read_json(folder / name) for name in (SETTINGS, RESULTS, COST))
    if not (folder / SETTINGS).exists():
        if failure := _failure(folder):
            return Left("failed", place, failure)
        begun = not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir())
        return Left("unfinished", place, "it has just begun") if begun else Left("foreign", place, f"no run: no {SETTINGS}")
    origin, (model, task, seed) = Origin(**record), place.split("/")
    expected = {"task": task, "seed": int(seed.removeprefix("seed-")), "output_dir": f"{GRID}/{place}"}
    if wrong := [name for name, value in expected.items() if origin.settings.get(name) != value]:
        return Left("foreign", place, f"its {SETTINGS} says {wrong[0]} {origin.settings.get(wrong[0])!r}")
    if (name := name_of(origin.settings, origin.layers)) != model:
        return Left("foreign", place, f"its {SETTINGS} says that it is of the model {name!r}")
    if results and not cost:
        return Left("damaged", place, f"there is no {COST}")
    if not results:
        failure = _failure(folder)
        return Left("failed", place, failure) if failure else Left("unfinished", place, _progress(folder))
    if not all((results.get(view) or {}).get("test") for view in VIEWS):
        return Left("unscored", place, "there are no scores on test; the same command without --do_eval false adds them")
    found = Record(
        model, task, known[task].kind, int(seed.removeprefix("seed-")), folder, origin, Results(**results), Cost(**cost)
    )
    if missing := [name for view in VIEWS for name in scores_of(known[task]) if name not in found.choice(view).test]:
        return Left("damaged", place, f"{RESULTS} has no {missing[0]}")
    if "test" not in found.results.data:
        return Left("damaged", place, f"{RESULTS} does not say what data it is of")
    if any(found.results.scores.get(str(choice.step), {}).get("test") != choice.test for choice in map(found.choice, VIEWS)):
        return Left("damaged", place, f"{RESULTS} chooses what is not among its scores")
    return found


def _progress(folder: Path) -> str:
    for line in reversed(tail(folder / LOG_LINES)):
        with suppress(*DAMAGE):  # the last line may be torn
            return f"its training came to step {json.loads(line)['step']} or beyond"
    return "its training did not come far"


def _failure_since(record: Record) -> str:
    """What made an attempt fail that came after the run was finished."""
    output, results = output_of(record.folder), record.folder / RESULTS
    return _failure(record.folder) if output.is_file() and output.stat().st_mtime > results.stat().st_mtime else ""


def _failure(folder: Path) -> str:
    """What ended the last process that worked on a run, where that was an error."""
    words = last_words(output_of(folder))
    return "" if words.startswith("interrupted by") else words


def last_words(output: Path) -> str:
    """The error that ended a process, as a line, from what it said; that it was interrupted; or nothing."""
    lines = [line.strip() for line in tail(output)]
    told = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if told:
        return shorten([lines[told[-1]].removeprefix("error: "), *lines[told[-1] + 1 :]])
    return lines[-1] if lines and lines[-1].startswith("interrupted by") else ""


def tail(path: Path) -> list[str]:
    """The lines at the end of a text file, the first of them maybe torn; none where there is no file."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(stream.tell() - TAIL, 0))
            return stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def shorten(words: Sequence[str]) -> str:
    """One line of several parts, at most MAX_WORDS long."""
    text = " ".join(words)
    return text if len(text) <= MAX_WORDS else text[: MAX_WORDS - 3] + "..."
