"""How the grid comes along, on standard error: a live table on a terminal, plain lines elsewhere."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from src.errors import BenchmarkError
from src.files import DAMAGE, read_json
from src.grid.cells import Cell, Task
from src.grid.estimate import Estimate
from src.grid.pool import Outcome, Pool, Running
from src.grid.read_runs import tail
from src.metrics import METRICS
from src.progress import format_seconds
from src.run_folder import RESULTS

if TYPE_CHECKING:
    from rich.console import Group

logger = logging.getLogger(__name__)

ENDING = "ending: {} runs are saving their state; once more Ctrl-C does not wait for it"


class Lines:
    """A line where a run starts and one where it ends. `whole`: the cells that are not to go on from where they were."""

    def __init__(self, cells: Sequence[Cell], known: Mapping[str, Task], estimate: Estimate, whole: Set[Cell]) -> None:
        self.cells, self.known, self.estimate, self.whole = cells, known, estimate, whole
        self.started: set[Cell] = set()
        self.seen = 0
        self.ending = False

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self, pool: Pool) -> None:
        """Say what is new."""
        for outcome in self.new_outcomes(pool):
            self.say_end(outcome, pool)
        if pool.asked and not self.ending:
            self.ending = True
            logger.info("%s", ENDING.format(len(pool.running)))
        for each in pool.running:
            if each.cell not in self.started:
                self.started.add(each.cell)
                logger.info("%s starts%s", each.cell.name, f" on {each.device.name}" if each.device.name else "")

    def new_outcomes(self, pool: Pool) -> list[Outcome]:
        """Runs that have ended since the last look; what they took improves the estimate."""
        new, self.seen = pool.ended[self.seen :], len(pool.ended)
        for outcome in new:
            if outcome.end == "done" and outcome.cell in self.whole:
                self.estimate.add(outcome.cell, outcome.seconds)
        return new

    def say_end(self, outcome: Outcome, pool: Pool) -> None:
        """How a run ended, and what is left."""
        done = f"{self.score(outcome.cell)} in {format_seconds(outcome.seconds)}"
        told = done if outcome.end == "done" else f"{outcome.end}: {outcome.why}"
        ended = len(self.cells) - len(pool.waiting) - len(pool.running)
        left = self.estimate.left(pool)
        logger.info("%s: %s (%d of %d%s)", outcome.cell.name, told, ended, len(self.cells), left and f"; {left}")

    def score(self, cell: Cell) -> str:
        """What a finished run scored, for people."""
        task = self.known[cell.task]
        try:
            score = read_json(cell.folder / RESULTS)["selected"]["test"][task.headline]
            return f"{task.headline} {100 * score / METRICS[task.metric].scale:.2f}"
        except (*DAMAGE, BenchmarkError):
            return "not scored"


class Live(Lines):
    """A table of models and tasks that is drawn anew where it stands, and below it the runs at work."""

    def __init__(self, cells: Sequence[Cell], known: Mapping[str, Task], estimate: Estimate, whole: Set[Cell]) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        super().__init__(cells, known, estimate, whole)
        self.screen = Screen(console=Console(file=sys.stderr), auto_refresh=False)

    def __enter__(self) -> "Live":
        self.screen.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # a terminal that went away
            self.screen.stop()

    def show(self, pool: Pool) -> None:
        """Draw it."""
        self.new_outcomes(pool)
        self.screen.update(self.picture(pool), refresh=True)

    def picture(self, pool: Pool) -> "Group":
        """The table: finished of all runs in each cell, how many are at work and how many failed."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Column, Table
        from rich.text import Text

        models = list(dict.fromkeys(cell.model for cell in self.cells))
        tasks = list(dict.fromkeys(cell.task for cell in self.cells))
        table = Table(
            Column("", no_wrap=True), *(Column(task, overflow="fold") for task in tasks), box=SIMPLE_HEAD, pad_edge=False
        )
        for model in models:
            table.add_row(model, *(Text(self._count(pool, model, task)) for task in tasks))
        lines = [Text(self._at_work(each), no_wrap=True, overflow="ellipsis") for each in pool.running]
        failed = pool.count("failed", "busy")
        done = len(self.cells) - len(pool.waiting) - len(pool.running) - len(pool.ended) + pool.count("done")
        parts = [f"{done} of {len(self.cells)} done", f"{failed} failed" if failed else "", self.estimate.left(pool)]
        if pool.asked:
            parts = [ENDING.format(len(pool.running))]
        return Group(table, *lines, Text(", ".join(part for part in parts if part)))

    def _count(self, pool: Pool, model: str, task: str) -> str:
        def here(cells: Any) -> int:
            return sum((cell.model, cell.task) == (model, task) for cell in cells)

        total, running = here(self.cells), here(each.cell for each in pool.running)
        failed = here(outcome.cell for outcome in pool.ended if outcome.end in ("failed", "busy"))
        ended = here(outcome.cell for outcome in pool.ended if outcome.end != "done")
        done = total - here(pool.waiting) - running - ended
        return f"{done}/{total}" + (f" ▶{running}" if running else "") + (f" ✗{failed}" if failed else "")

    def _at_work(self, running: Running) -> str:
        where = f" on {running.device.name}" if running.device.name else ""
        return f"▶ {running.cell.name}{where} {format_seconds(running.seconds)}  {last_line(running.cell)}"


def last_line(cell: Cell) -> str:
    """What a run at work has said last, without the time."""
    said = next((line for line in reversed(tail(cell.output)) if line.strip()), "")
    time_of_day, _, message = said.partition(" ")
    return message if time_of_day.count(":") == 2 else said


def can_draw() -> bool:
    """Whether standard error is a terminal on which a table can be drawn anew."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
