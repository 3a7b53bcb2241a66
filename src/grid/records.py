"""What the folders of the grid hold: the records of finished runs, and by name everything that is no finished run."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.checkpoint import COST, LOG_LINES, RESULTS, SETTINGS
from src.errors import CheckpointError
from src.files import DAMAGE, read_json
from src.grid.cells import GRID, Task, output_of
from src.settings import COMMAND_LINE, Settings, changes

VIEWS = ("selected", "best_on_test")
COSTS = ("training_seconds", "peak_memory_bytes", "tokens_per_s")
WRITTEN = ("results.md", "results.csv")  # what `report` itself leaves in the grid
DIGITS = 12  # of a sha256, that tell two files apart
MAX_WORDS = 300  # characters of a process's last words


@dataclass(frozen=True)
class Record:
    """A finished run of the grid."""

    model: str
    task: str
    seed: int
    folder: Path
    settings: Mapping[str, Any]
    overrides: Mapping[str, Any]  # those settings that stood on the command line
    conditions: Mapping[str, str]  # digests of its data files, precision, versions of the libraries
    weights: str  # digest or commit of the model that training started from
    results: Mapping[str, Any]  # eval_results.json
    cost: Mapping[str, Any]  # cost.json
    made_with: Mapping[str, str]  # device and git revision
    weight_bytes: int | None  # of a checkpoint's model.safetensors; None where there is no checkpoint

    def score(self, view: str, name: str) -> float:
        """The test score `name` of the checkpoint that `view` chooses."""
        return float(self.results[view]["test"][name])

    @property
    def seconds(self) -> float:
        """What the run took in all."""
        parts = ("preparation_seconds", "training_seconds", "evaluation_seconds")
        return sum(float(self.cost.get(part, 0.0)) for part in parts)

    @property
    def bytes_on_disk(self) -> int:
        """What it takes on the disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Left:
    """What lies in the grid and is no finished run. `kind`: failed, unfinished, unscored, damaged, foreign or put aside."""

    kind: str
    place: str  # relative to the grid
    why: str


def scores_of(task: Task) -> tuple[str, ...]:
    """The names of the scores that stand in the task's column."""
    return task.reported or (task.headline,)


def read_grid(ckpt_dir: Path, known: Mapping[str, Task]) -> tuple[list[Record], list[Left]]:
    """Every finished run of the grid in `ckpt_dir`, and what else lies there.

    Raises CheckpointError where there is no grid.
    """
    root = ckpt_dir / GRID
    if not root.is_dir():
        raise CheckpointError(f"{root}/ is not there. `python3 run_benchmark.py run` makes it; --ckpt_dir says where it lies.")
    records: list[Record] = []
    left: list[Left] = []
    for path, parts in _places(root, known, left):
        folder, what = root.joinpath(*parts), "/".join(parts)
        try:
            found = _read(folder, what, known) if path.is_dir() else _failure(folder, what)
        except DAMAGE as error:
            found = Left("damaged", what, " ".join(f"{type(error).__name__}: {error}".split()))
        except CheckpointError as error:
            found = Left("damaged", what, str(error))
        if isinstance(found, Record):
            records.append(found)
        elif found:
            left.append(found)
    return records, left


def _places(root: Path, known: Mapping[str, Task], left: list[Left]) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """(what is there, (model, task, seed-n)) of runs' folders, and of outputs whose process never made one."""

    def foreign(path: Path, why: str) -> None:
        left.append(Left("foreign", str(path.relative_to(root)), why))

    for model in _visible(root):
        if model.name in WRITTEN:
            continue
        if not any((model / task).is_dir() for task in known):
            foreign(model, "no model's folder: it holds no task's")
            continue
        for task in _visible(model):
            if task.name not in known or not task.is_dir():
                foreign(task, f"no task's folder; those are {', '.join(known)}")
                continue
            for path in _visible(task):
                seed, _, rest = path.name.partition(".")
                ours = seed.startswith("seed-") and _is_number(seed.removeprefix("seed-"))
                if ours and path.is_dir() and _is_number(rest):
                    left.append(Left("put aside", str(path.relative_to(root)), f"an earlier run of {seed}"))
                elif ours and (path.is_dir() and not rest):
                    yield path, (model.name, task.name, seed)
                elif ours and path.is_file() and rest == "log":
                    if not path.with_suffix("").exists():
                        yield path, (model.name, task.name, seed)
                else:
                    foreign(path, "no run's folder; those are called seed-<n>")


def _visible(folder: Path) -> list[Path]:
    """What is in it, without locks and what is being written."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text


def _read(folder: Path, place: str, known: Mapping[str, Task]) -> Record | Left:
    record, results, cost = (read_json(folder / name) for name in (SETTINGS, RESULTS, COST))
    if not record:
        return Left("foreign", place, f"no run: there is no {SETTINGS}")
    settings, (model, task, seed) = record["settings"], place.split("/")
    for name, expected in {"task": task, "seed": int(seed.removeprefix("seed-")), "output_dir": f"{GRID}/{place}"}.items():
        if settings[name] != expected:
            return Left("foreign", place, f"its {SETTINGS} says {name} {settings[name]!r}")
    if not (results and cost):
        return _failure(folder, place) or Left("unfinished", place, _progress(folder))
    if not all(results[view] and results[view]["test"] for view in VIEWS):
        return Left("unscored", place, "there are no scores on test; the same command without --do_eval false adds them")
    scores = [results[view]["test"][name] for view in VIEWS for name in scores_of(known[task])]
    if not all(math.isfinite(number) for number in [*scores, *(cost[name] for name in COSTS)]):
        return Left("damaged", place, "a score or a cost is no number")
    weights = folder / results["selected"]["checkpoint"] / "model.safetensors"
    return Record(
        model=model,
        task=task,
        seed=settings["seed"],
        folder=folder,
        settings=that_matter(settings),
        overrides=that_matter({name: settings[name] for name, layer in record["layers"].items() if layer == COMMAND_LINE}),
        conditions=_conditions(record),
        weights=_short(record["weights"] or record.get("model_revision")),
        results=results,
        cost=cost,
        made_with={"device": record["device"], "revision": _short(record["git_revision"])},
        weight_bytes=weights.stat().st_size if weights.is_file() else None,
    )


def _conditions(record: Mapping[str, Any]) -> dict[str, str]:
    files = {f"{split} file": _short(facts["sha256"]) for split, facts in record["data"].items()}
    versions = {f"version of {name}": version for name, version in record["versions"].items()}
    return {**files, "precision": record["mixed_precision"], **versions}


def _short(digest: str | None) -> str:
    """The first digits of a digest or commit, with the + of a checkout that was changed."""
    return digest[:DIGITS] + ("+" if digest.endswith("+") else "") if digest else "unknown"


def that_matter(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that can change a score and are not the cell's own."""
    known = settings.keys() & Settings.model_fields.keys() - {"task", "seed"}
    return {name: value for name, value in settings.items() if name in known and changes(name) != "nothing"}


def _progress(folder: Path) -> str:
    path = folder / LOG_LINES
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in reversed(lines):
        with suppress(*DAMAGE):  # the last line may be torn
            return f"its training came to step {json.loads(line)['step']} or beyond"
    return "its training did not come far"


def _failure(folder: Path, place: str) -> Left | None:
    """What ended the last process that worked on a run, where that was an error."""
    output = output_of(folder)
    words = last_words(output)
    if not words or words.startswith("interrupted by"):
        return None if folder.is_dir() else Left("unfinished", place, words or "its process has said nothing")
    return Left("failed", place, words)


def last_words(output: Path) -> str:
    """The error that ended a process, as a line, from what it said; that it was interrupted; or nothing."""
    try:
        lines = [line.strip() for line in output.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    told = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if told:
        return shorten([lines[told[-1]].removeprefix("error: "), *lines[told[-1] + 1 :]])
    said = [line for line in lines if line]
    if "Traceback (most recent call last):" in said or (said and said[-1].startswith("interrupted by")):
        return shorten(said[-1:])
    return ""


def shorten(lines: Sequence[str]) -> str:
    """One line of several, at most MAX_WORDS long."""
    text = " ".join(lines)
    return text if len(text) <= MAX_WORDS else text[: MAX_WORDS - 3] + "..."
