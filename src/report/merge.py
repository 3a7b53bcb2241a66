"""The results of several people or machines, read as one grid."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from src.data.task import Tasks
from src.report.read_runs import NotReported, read_grid
from src.report.record import Record
from src.runs.grid_folder import GRID


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
