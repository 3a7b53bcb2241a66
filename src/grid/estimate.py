"""What runs will take, from those like them that are finished."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from src.grid.cells import Cell
from src.grid.pool import Pool
from src.grid.record import Record, that_matter
from src.progress import format_seconds

Place = tuple[str, str]  # model and task


@dataclass
class Estimate:
    """Seconds and bytes of finished runs by model and task; only runs with the settings of the cells count."""

    seconds: dict[Place, list[float]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[Place, list[float]] = field(default_factory=lambda: defaultdict(list))
    devices: set[str] = field(default_factory=set)  # on which those were

    @classmethod
    def of(cls, cells: Sequence[Cell], records: Iterable[Record]) -> "Estimate":
        """From the finished runs of the grid."""
        wanted = {(cell.model, cell.task): cell.settings.model_dump() for cell in cells}
        found = cls()
        for record in records:
            place = (record.model, record.task)
            if place in wanted and _what_it_takes(wanted[place], record) == _what_it_takes(record.origin.settings, record):
                found.seconds[place].append(record.seconds)
                found.sizes[place].append(record.bytes_on_disk)
                found.devices.add(record.origin.device)
        return found

    def add(self, cell: Cell, seconds: float) -> None:
        """A run of the cell has taken so long, from nothing to its end."""
        self.seconds[cell.model, cell.task].append(seconds)

    def time(self, cells: Iterable[Cell], devices: int) -> tuple[float, int]:
        """Seconds that the cells take on so many devices, and of how many of the cells nothing is known."""
        found = [self.seconds.get((cell.model, cell.task)) for cell in cells]
        known = [fmean(each) for each in found if each]
        return max([sum(known) / devices, *known], default=0.0), len(found) - len(known)

    def disk(self, cells: Iterable[Cell]) -> float:
        """Bytes that those of the cells take of which something is known."""
        return sum(fmean(found) for cell in cells if (found := self.sizes.get((cell.model, cell.task))))

    def left(self, pool: Pool) -> str:
        """How long the rest takes, for people: `1:02:03 and 4 runs of unknown length left`; empty where nothing is known."""
        waiting, unknown = self.time(pool.waiting, len(pool.devices))
        longest = 0.0
        for each in pool.running:
            whole, is_unknown = self.time([each.cell], 1)
            longest, unknown = max(longest, whole - each.seconds), unknown + is_unknown
        if unknown == len(pool.waiting) + len(pool.running):
            return ""
        more = f" and {unknown} runs of unknown length" if unknown else ""
        return f"{format_seconds(waiting + longest)}{more} left"


def _what_it_takes(settings: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """What decides how long a run like the record takes."""
    return {**that_matter(settings, record.kind), "data_dir": settings.get("data_dir")}
