"""Estimates of the time and disk space of runs, from finished runs of the same model and task."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from src.common.progress import format_seconds
from src.grid.cells import Cell
from src.grid.pool import Runs
from src.report.record import ModelAndTask, Record, affecting_scores


@dataclass
class Estimate:
    """Durations and sizes of finished runs that have the settings of the cells."""

    seconds: dict[ModelAndTask, list[float]] = field(default_factory=lambda: defaultdict(list))
    bytes_on_disk: dict[ModelAndTask, list[float]] = field(default_factory=lambda: defaultdict(list))
    devices: set[str] = field(default_factory=set)  # where those runs were made

    @classmethod
    def from_records(cls, cells: Sequence[Cell], records: Iterable[Record]) -> "Estimate":
        """Return an estimate for `cells` from the finished runs of the grid."""
        settings_of = {(cell.model, cell.task): cell.settings.model_dump() for cell in cells}
        estimate = cls()
        for record in records:
            key = (record.model, record.task)
            settings = record.origin.settings
            if key in settings_of and _affecting_time(settings_of[key], record) == _affecting_time(settings, record):
                estimate.seconds[key].append(record.seconds)
                estimate.bytes_on_disk[key].append(record.bytes_on_disk)
                estimate.devices.add(record.origin.device)
        return estimate

    def add(self, cell: Cell, seconds: float) -> None:
        """Add the duration of a run that did not resume an earlier one."""
        self.seconds[cell.model, cell.task].append(seconds)

    def time(self, cells: Iterable[Cell], devices: int) -> tuple[float, int]:
        """Return the seconds that `cells` take on so many devices, and the number of cells of unknown duration."""
        durations = [self.seconds.get((cell.model, cell.task)) for cell in cells]
        means = [fmean(seconds) for seconds in durations if seconds]
        return max([sum(means) / devices, *means], default=0.0), len(durations) - len(means)

    def disk(self, cells: Iterable[Cell]) -> float:
        """Return the bytes that `cells` take; cells of unknown size count as 0."""
        return sum(fmean(sizes) for cell in cells if (sizes := self.bytes_on_disk.get((cell.model, cell.task))))

    def remaining(self, pool: Runs[Any]) -> str:
        """Return `1:02:03 and 4 runs of unknown length left`; empty if nothing is known."""
        waiting, unknown = self.time(pool.waiting, len(pool.devices))
        longest = 0.0
        for running in pool.running:
            total, is_unknown = self.time([running.cell], 1)
            longest, unknown = max(longest, total - running.seconds), unknown + is_unknown
        if unknown == len(pool.waiting) + len(pool.running):
            return ""
        more = f" and {unknown} runs of unknown length" if unknown else ""
        return f"{format_seconds(waiting + longest)}{more} left"


def _affecting_time(settings: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """Return the settings that decide how long a run like the record takes."""
    return {**affecting_scores(settings, record.kind), "data_dir": settings.get("data_dir")}
