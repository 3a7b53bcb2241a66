"""The grid from the command line to its end: what is to do, what it costs, the runs, and what failed."""

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from src.data import DataFile
from src.grid.cells import GRID, Cell, Status, Task, look
from src.grid.display import Lines, Live, can_draw
from src.grid.estimate import Estimate
from src.grid.pool import Pool, parse_devices
from src.grid.read_runs import Left, read_grid
from src.grid.record import Record
from src.progress import format_seconds
from src.settings import Settings

logger = logging.getLogger(__name__)

SAID: Mapping[Status, str] = {
    "finished": "finished",
    "resumed": "to go on",
    "afresh": "to start afresh",
    "broken": "broken",
    "new": "new",
}


def run_grid(
    cells: Sequence[Cell],
    devices: str,
    dry_run: bool,
    known: Mapping[str, Task],
    find_files: Callable[[Settings], Mapping[str, DataFile]],
) -> int:
    """Run what of the cells is not finished, or only say what that is; the exit code: 1 where not all are finished then.

    Raises ConfigError for devices that are not there, Interrupted where a signal ends it.
    """
    slots = parse_devices(devices)
    statuses = look(cells, known, find_files)
    todo = [cell for cell in cells if statuses[cell][0] != "finished"]
    estimate = Estimate.of(cells, _read(cells, known)[0])
    head = _head(statuses)
    if dry_run:
        print("\n".join([*_comments(head), *(cell.command for cell in todo), *_comments(_cost(todo, estimate, len(slots)))]))
        return 0
    for line in head:
        logger.info("%s", line)
    pool = Pool(deque(todo), slots)
    if todo:
        whole = {cell for cell, (status, _) in statuses.items() if status != "resumed"}
        with (Live if can_draw() else Lines)(cells, known, estimate, whole) as display:
            pool.run(display.show)
    return _sum_up(pool, cells, known)


def _read(cells: Sequence[Cell], known: Mapping[str, Task]) -> tuple[list[Record], list[Left]]:
    """What the grid of the cells holds, which may not be there yet."""
    ckpt_dir = Path(cells[0].settings.ckpt_dir)
    return read_grid(ckpt_dir, known) if (ckpt_dir / GRID).is_dir() else ([], [])


def _sum_up(pool: Pool, cells: Sequence[Cell], known: Mapping[str, Task]) -> int:
    """Say what is not finished and why, a reason a line; the exit code."""
    ckpt_dir = cells[0].settings.ckpt_dir
    left: dict[tuple[str, str], list[str]] = defaultdict(list)
    outputs: dict[str, str] = {}  # the first of those that say so
    for outcome in pool.ended:
        if outcome.end != "done":
            left[outcome.end, outcome.why].append(outcome.cell.name)
            outputs.setdefault(outcome.why, f" ({outcome.cell.output})")
    told = {name for names in left.values() for name in names}
    for each in _read(cells, known)[1]:  # what a process takes for finished may be no good for the table
        if each.place in {cell.name for cell in cells} - told and each.kind in ("damaged", "foreign"):
            left[each.kind, f"{each.why}. Move it away, and the same command runs it again."].append(each.place)
    for (kind, why), names in left.items():
        logger.error("%s: %s: %s%s", kind, ", ".join(names), why, outputs.get(why, ""))
    count = sum(map(len, left.values()))
    again = "; the same command tries the others again" if count else ""
    place = "" if ckpt_dir == Settings.model_fields["ckpt_dir"].default else f" --ckpt_dir {ckpt_dir}"
    logger.info(
        "%d of %d runs are finished%s. Next: python3 run_benchmark.py report%s", len(cells) - count, len(cells), again, place
    )
    return 1 if count else 0


def _comments(lines: Sequence[str]) -> list[str]:
    """What a shell that is given the commands leaves alone."""
    return [f"# {line}" for text in lines for line in text.splitlines()]


def _head(statuses: Mapping[Cell, tuple[Status, str]]) -> list[str]:
    counts = Counter(status for status, _ in statuses.values())
    lines = [f"runs: {', '.join(f'{counts[status]} {text}' for status, text in SAID.items() if counts[status])}"]
    for cell, (status, why) in statuses.items():
        if status == "afresh":
            lines.append(f"{cell.name} starts afresh: it {why}; what is there is kept beside it")
        if status == "broken":
            lines.append(f"{cell.name} is tried, but may be broken: {why}")
    return lines


def _cost(todo: Sequence[Cell], estimate: Estimate, devices: int) -> list[str]:
    if not todo:
        return ["nothing is to do"]
    seconds, unknown = estimate.time(todo, devices)
    if unknown == len(todo):
        return ["time and disk: not known before a run of the same model and task with these settings is finished"]
    which = f" for {len(todo) - unknown} of the {len(todo)} runs; no run like the others is finished" if unknown else ""
    where = "one run after the other" if devices == 1 else f"a run on each of {devices} devices"
    return [
        f"time: {format_seconds(seconds)}, {where}, as on {' and '.join(sorted(estimate.devices))}{which}",
        f"disk: {estimate.disk(todo) / 1e6:,.0f} MB in the end{which}",
    ]
