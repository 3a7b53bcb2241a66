"""Show the progress of the grid on standard error: a live table on a terminal, plain lines elsewhere."""

import logging
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from src.common.errors import BenchmarkError
from src.common.files import DAMAGE, read_json
from src.common.log import is_terminal
from src.common.progress import format_seconds
from src.data.task import Tasks
from src.grid.cells import Cell
from src.grid.estimate import Estimate
from src.grid.pool import Outcome, Running, Runs
from src.metrics.metrics import in_percent
from src.report.read_runs import last_line
from src.report.record import ModelAndTask
from src.runs.files import RESULTS

logger = logging.getLogger(__name__)


class LineDisplay:
    """Log one line when a run starts and one when it ends."""

    def __init__(self, cells: Sequence[Cell], tasks: Tasks, estimate: Estimate) -> None:
        self.cells, self.tasks, self.estimate = cells, tasks, estimate
        self.started: set[Cell] = set()
        self.is_stopping = False

    def show(self, pool: Runs[Any], outcomes: Sequence[Outcome]) -> None:
        """Log what has changed. `outcomes`: the cells that have just ended."""
        for outcome in outcomes:
            self._log_end(outcome, pool)
        if pool.signals and not self.is_stopping:
            self.is_stopping = True
            logger.info("%s", _stopping_message(pool))
        for running in pool.running:
            if running.cell not in self.started:
                self.started.add(running.cell)
                logger.info("%s starts%s", running.cell.name, _on_device(running))

    def _log_end(self, outcome: Outcome, pool: Runs[Any]) -> None:
        done = f"{self._score(outcome.cell)} in {format_seconds(outcome.seconds)}"
        result = done if outcome.end == "done" else f"{outcome.end}: {outcome.reason}"
        ended = len(self.cells) - len(pool.waiting) - len(pool.running)
        remaining = self.estimate.remaining(pool)
        logger.info("%s: %s (%d of %d%s)", outcome.cell.name, result, ended, len(self.cells), remaining and f"; {remaining}")

    def _score(self, cell: Cell) -> str:
        task = self.tasks[cell.task]
        try:
            score = read_json(cell.folder / RESULTS)["selected"]["test"][task.headline]
            return f"{task.headline} {in_percent(task, score):.2f}"
        except (*DAMAGE, BenchmarkError):
            return "no test scores"

    def close(self) -> None:
        pass


class LiveDisplay(LineDisplay):
    """Redraw a table of models and tasks in place, and below it the running cells."""

    def __init__(self, cells: Sequence[Cell], tasks: Tasks, estimate: Estimate) -> None:
        super().__init__(cells, tasks, estimate)
        self.live = Live(console=Console(file=sys.stderr), auto_refresh=False)

    def show(self, pool: Runs[Any], outcomes: Sequence[Outcome]) -> None:
        """Redraw the table."""
        self.live.start()
        self.live.update(self.render(pool), refresh=True)

    def close(self) -> None:
        with suppress(OSError):  # the terminal may be closed
            self.live.stop()

    def render(self, pool: Runs[Any]) -> Group:
        """Return the table: for each model and task the finished and all runs, how many are running and how many failed."""
        states = dict.fromkeys(self.cells, "done") | dict.fromkeys(pool.waiting, "waiting")
        states |= {running.cell: "running" for running in pool.running} | {outcome.cell: outcome.end for outcome in pool.ended}
        counts: dict[ModelAndTask, Counter[str]] = defaultdict(Counter)
        for cell, state in states.items():
            counts[cell.model, cell.task]["failed" if state == "busy" else state] += 1
        tasks = list(dict.fromkeys(task for _, task in counts))
        columns = [Column(task, overflow="fold") for task in tasks]
        table = Table(Column("", no_wrap=True), *columns, box=SIMPLE_HEAD, pad_edge=False)
        for model in dict.fromkeys(model for model, _ in counts):
            table.add_row(model, *(Text(_format_counts(counts[model, task])) for task in tasks))
        lines = [Text(_format_running(running), no_wrap=True, overflow="ellipsis") for running in pool.running]
        total = sum(counts.values(), Counter())
        failed = f"{total['failed']} failed" if total["failed"] else ""
        parts = [f"{total['done']} of {len(self.cells)} done", failed, self.estimate.remaining(pool)]
        summary = ", ".join(part for part in parts if part)
        return Group(table, *lines, Text(_stopping_message(pool) if pool.signals else summary))


def _format_counts(counts: Counter[str]) -> str:
    running = f" ▶{counts['running']}" if counts["running"] else ""
    failed = f" ✗{counts['failed']}" if counts["failed"] else ""
    return f"{counts['done']}/{counts.total()}{running}{failed}"


def _stopping_message(pool: Runs[Any]) -> str:
    return f"stopping: {len(pool.running)} runs are saving their state; press Ctrl-C again to stop now"


def _on_device(running: Running) -> str:
    return f" on {running.device.name}" if running.device.name else ""


def _format_running(running: Running) -> str:
    """Return the name, device and duration of a running cell, and the last line of its output without the time of day."""
    line = last_line(running.cell.output)
    time_of_day, _, message = line.partition(" ")
    message = message if time_of_day.count(":") == 2 else line
    return f"▶ {running.cell.name}{_on_device(running)} {format_seconds(running.seconds)}  {message}"


def can_redraw() -> bool:
    """Return whether standard error is a terminal that can redraw a table in place."""
    return is_terminal(sys.stderr) and os.environ.get("TERM") not in ("dumb", "unknown")
