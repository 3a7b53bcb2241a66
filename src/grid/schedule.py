"""Run the grid: find what is left to do, estimate its cost, run it, and report failures."""

import logging
import shlex
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.common.progress import format_seconds
from src.data.task import Tasks
from src.grid.cells import Cell, GridRequest, Status, cell_statuses
from src.grid.devices import parse_devices
from src.grid.display import LineDisplay, LiveDisplay, can_redraw
from src.grid.estimate import Estimate
from src.grid.pool import Outcome, Pool, Runs
from src.report.read_runs import NotReported, read_grid
from src.report.record import Record
from src.runs.grid_folder import GRID
from src.settings.schema import Settings

if TYPE_CHECKING:
    from src.grid.ray_pool import Cluster

logger = logging.getLogger(__name__)

STATUS_TEXTS: Mapping[Status, str] = {
    "finished": "finished",
    "trained": "trained, to score",
    "score": "unfinished, to score",
    "resume": "to resume",
    "replace": "to start over",
    "damaged": "possibly damaged",
    "new": "new",
}
# Statuses of runs whose duration is that of a whole run.
FROM_SCRATCH = ("new", "replace", "damaged")


def run_grid(cells: Sequence[Cell], request: GridRequest, cluster: "Cluster | None" = None) -> int:
    """Run the cells of a request that are not finished, or only print their commands. Returns 1 if some are not finished, else 0.

    They run on the nodes of `cluster`, or else on the devices of this machine. Raises ConfigError for unknown devices and if the
    cluster can never run them, Interrupted after a signal.
    """
    slots = cluster.devices if cluster else parse_devices(request.devices)
    tasks = request.all_tasks
    statuses = cell_statuses(cells, tasks, request.find_files)
    remaining = [cell for cell in cells if statuses[cell][0] != "finished"]
    estimate = Estimate.from_records(cells, _read_grid(cells, tasks)[0])
    overview = _overview(statuses)
    if request.dry_run:
        commands = [cell.command for cell in remaining]
        about = cluster.comments if cluster else []
        print("\n".join([*_comments(overview), *commands, *_comments([*about, *_cost(remaining, estimate, len(slots))])]))
        return 0
    for line in overview:
        logger.info("%s", line)
    ended: Sequence[Outcome] = []
    if remaining:
        display = (LiveDisplay if can_redraw() else LineDisplay)(cells, tasks, estimate)

        def update(pool: Runs[Any], outcomes: Sequence[Outcome]) -> None:
            for outcome in outcomes:
                if outcome.end == "done" and statuses[outcome.cell][0] in FROM_SCRATCH:
                    estimate.add(outcome.cell, outcome.seconds)
            display.show(pool, outcomes)

        local = nullcontext(Pool(deque(remaining), slots))
        with cluster.runs(remaining) if cluster else local as pool, closing(display):
            pool.run(update)
            ended = pool.ended
    return _summarize(ended, cells, tasks)


def _read_grid(cells: Sequence[Cell], tasks: Tasks) -> tuple[list[Record], list[NotReported]]:
    """Read the grid of the cells, which may not exist yet."""
    ckpt_dir = Path(cells[0].settings.ckpt_dir)
    return read_grid(ckpt_dir, tasks) if (ckpt_dir / GRID).is_dir() else ([], [])


def _summarize(ended: Sequence[Outcome], cells: Sequence[Cell], tasks: Tasks) -> int:
    """Log which cells are not finished, one line per reason. Returns the exit code."""
    not_finished: dict[tuple[str, str], list[str]] = defaultdict(list)  # (kind, reason) -> names of cells
    outputs: dict[str, str] = {}  # reason -> output of the first cell that gives it
    for outcome in ended:
        if outcome.end != "done":
            not_finished[outcome.end, outcome.reason].append(outcome.cell.name)
            outputs.setdefault(outcome.reason, f" ({outcome.cell.output})")
    named = {name for names in not_finished.values() for name in names}
    done = {cell.name: cell for cell in cells if cell.name not in named}
    for run in _read_grid(cells, tasks)[1]:  # a run that ended well may still be unusable for the report
        if run.place in done and run.kind in ("damaged", "ignored"):
            not_finished[run.kind, f"{run.reason}. Move it away and rerun the same command."].append(run.place)
        elif run.place in done and run.kind == "unfinished" and done[run.place].settings.do_eval:
            not_finished[run.kind, run.reason].append(run.place)
    for (kind, reason), names in not_finished.items():
        logger.error("%s: %s: %s%s", kind, ", ".join(names), reason, outputs.get(reason, ""))
    count = sum(map(len, not_finished.values()))
    retry = "; rerun the same command to try the others again" if count else ""
    ckpt_dir = cells[0].settings.ckpt_dir
    flag = "" if ckpt_dir == Settings.model_fields["ckpt_dir"].default else f" --ckpt_dir {shlex.quote(ckpt_dir)}"
    finished = f"{len(cells) - count} of {len(cells)} runs are finished"
    logger.info("%s%s. Next: python3 run_benchmark.py report%s", finished, retry, flag)
    return 1 if count else 0


def _comments(lines: Sequence[str]) -> list[str]:
    """Turn lines into shell comments, so that a shell can execute the output."""
    return [f"# {line}" for text in lines for line in text.splitlines()]


def _overview(statuses: Mapping[Cell, tuple[Status, str]]) -> list[str]:
    counts = Counter(status for status, _ in statuses.values())
    lines = [f"runs: {', '.join(f'{counts[status]} {text}' for status, text in STATUS_TEXTS.items() if counts[status])}"]
    for cell, (status, reason) in statuses.items():
        if status == "replace":
            lines.append(f"{cell.name} starts over: {reason}; the earlier run is kept next to it")
        if status == "damaged":
            lines.append(f"{cell.name} is tried, but may be damaged: {reason}")
    return lines


def _cost(remaining: Sequence[Cell], estimate: Estimate, devices: int) -> list[str]:
    if not remaining:
        return ["nothing to do"]
    seconds, unknown = estimate.time(remaining, devices)
    if unknown == len(remaining):
        return ["time and disk: unknown until a run of the same model and task with these settings is finished"]
    coverage = f" for {len(remaining) - unknown} of {len(remaining)} runs; the others are unknown" if unknown else ""
    order = "one run after the other" if devices == 1 else f"one run on each of {devices} devices"
    return [
        f"time: {format_seconds(seconds)}, {order}, as on {' and '.join(sorted(estimate.devices))}{coverage}",
        f"disk: {estimate.disk(remaining) / 1e6:,.0f} MB{coverage}",
    ]
