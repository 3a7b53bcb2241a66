"""Run the trials of searches as cells of the pool: watch their scores on dev, prune the bad ones, write the best settings."""

import logging
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from src.common.errors import BenchmarkError, EnvironmentFailure, brief
from src.common.files import DAMAGE
from src.common.progress import format_seconds
from src.data.task import Task
from src.grid.cells import Cell, GridRequest
from src.grid.devices import parse_devices
from src.grid.pool import LocalProcess, Outcome, Pool, Runs
from src.grid.tune.search import Search, read_points, read_score, trials_folder
from src.grid.tune.space import SMALL, Space, for_hidden_size, has_sizes
from src.metrics.metrics import in_percent
from src.runs.journal import count_states, read_trials
from src.settings.schema import Settings, counts_for

logger = logging.getLogger(__name__)

ReadSize = Callable[[Settings], int | None]  # returns the hidden size of a model, if its config tells
GIVE_UP_AFTER = 3  # trials that fail before any other has ended


def run_searches(bases: Sequence[Cell], request: GridRequest, space: Space, total: int, read_hidden_size: ReadSize) -> int:
    """Search until there are `total` trials for each of the cells `bases`, and write the results. Returns the exit code.

    Raises ConfigError, DataError, ModelError or CheckpointError if a search cannot start, EnvironmentFailure if its first trials
    all fail, Interrupted after a signal.
    """
    slots, searches = parse_devices(request.devices), []
    for base in bases:
        task = request.all_tasks[base.task]
        data = {split: file.sha256 for split, file in request.find_files(base.settings).items()}
        searches.append(Search(base, task, space_for(base, task, space, read_hidden_size), data, total))
    try:
        Tuner(searches).run(Pool(deque(), slots))
    finally:
        paths = [search.write_result(request.given) for search in searches]  # of those that are complete
    for search, path in zip(searches, paths, strict=True):
        if path:
            logger.info("written: %s. Next: python3 run_benchmark.py run --tuned %s", path, search.chosen_by)
        else:
            unfinished = len(search.study.unfinished)
            reason = f"{unfinished} trials are unfinished; rerun the same command" if unfinished else "no trial is finished"
            logger.error("%s has no result: %s", trials_folder(search.base), reason)
    return 0 if all(paths) else 1


def describe_searches(bases: Sequence[Cell], request: GridRequest, space: Space, total: int) -> str:
    """Return what run_searches would do, as shell comments, without reading data or models."""
    lines = []
    for base in bases:
        counts = count_states(read_trials(trials_folder(base)))
        ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        lines.append(f"{base.model} on {base.task}: {total} trials{ended and f', so far {ended}'}, in {trials_folder(base)}/")
        searched = " ".join(f"--{name} ..." for name in space if counts_for(name, request.all_tasks[base.task].kind))
        lines.append(f"{base.command} {searched}")
    lines += [f"{name}: {entry}" for name, entry in space.items()]
    return "\n".join(f"# {line}" for line in lines)


def space_for(base: Cell, task: Task, space: Space, read_hidden_size: ReadSize) -> Space:
    """Return the part of a space that counts for a cell's task, for the size of its model. May fetch the model."""
    space = {name: entry for name, entry in space.items() if counts_for(name, task.kind)}
    if not any(map(has_sizes, space.values())):
        return space
    return for_hidden_size(space, read_hidden_size(base.settings) or SMALL + 1)


@dataclass
class Tuner:
    """Runs the trials of searches, those of the first search first."""

    searches: Sequence[Search]
    trials: dict[Cell, tuple[Search, int]] = field(default_factory=dict)
    started: set[Cell] = field(default_factory=set)
    pruned: set[Cell] = field(default_factory=set)
    busy: set[Cell] = field(default_factory=set)  # another process is running them

    def run(self, pool: Pool) -> None:
        """Run until no trial is left. Raises Interrupted after a signal, EnvironmentFailure if the first trials all fail."""
        for search in self.searches:
            search.tidy()  # an earlier command may have been killed before it did
        self._fill(pool)
        pool.run(self._update)

    def _update(self, pool: Runs[LocalProcess], outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._end(outcome, pool)
        for running in pool.running:
            self._watch(running)
        self._fill(pool)

    def _fill(self, pool: Runs[LocalProcess]) -> None:
        """Let as many trials wait as can start now: the more trials have ended, the better the next one is chosen."""
        for search in self.searches:
            while not pool.signals and len(pool.running) + len(pool.waiting) < len(pool.devices):
                if (trial := search.next_trial()) is None:
                    break
                cell = search.cell(trial)
                self.trials[cell] = (search, trial.number)
                pool.waiting.append(cell)

    def _watch(self, running: LocalProcess) -> None:
        """Log that a trial has started; end it if its scores are bad."""
        cell = running.cell
        if cell not in self.started:
            self.started.add(cell)
            search, number = self.trials[cell]
            logger.info("%s starts: %s", cell.name, _format_values(search.study.trials[number].params))
        if cell not in self.pruned and self._is_bad(cell):
            self.pruned.add(cell)
            running.process.send_signal(signal.SIGTERM)

    def _is_bad(self, cell: Cell) -> bool:
        """Record the scores of a trial; return whether it is to be pruned."""
        search, number = self.trials[cell]
        points: dict[int, float] = {}
        with suppress(*DAMAGE, OSError, BenchmarkError):  # the run is replacing a file just now
            points = read_points(cell.folder, search.task.headline)
        return search.study.report(number, points)

    def _end(self, outcome: Outcome, pool: Runs[LocalProcess]) -> None:
        """Record how a trial has ended. Raises EnvironmentFailure if the first trials all failed."""
        if outcome.end == "busy":
            self._wait_for(outcome, pool)
            return
        cell, search = outcome.cell, self.trials[outcome.cell][0]
        text = self._record(outcome)
        search.tidy()
        logger.info("%s: %s, after %s (%s)", cell.name, text, format_seconds(outcome.seconds), search.progress)
        counts = search.study.counts
        if text.startswith("failed") and GIVE_UP_AFTER <= counts["failed"] == sum(counts.values()):
            raise EnvironmentFailure(f"{cell.name}: all {counts['failed']} trials so far {text}")

    def _wait_for(self, outcome: Outcome, pool: Runs[LocalProcess]) -> None:
        """Try a trial again whose process was started by an earlier command, which was killed."""
        if outcome.cell not in self.busy:
            self.busy.add(outcome.cell)
            logger.info("%s: %s", outcome.cell.name, outcome.reason)
        pool.ended.remove(outcome)
        pool.waiting.append(outcome.cell)

    def _record(self, outcome: Outcome) -> str:
        """Record in the study how a trial has ended, and return it as text. An interrupted one remains to be continued."""
        search, number = self.trials[outcome.cell]
        score, reason = None, outcome.reason
        if outcome.end == "done":
            if self._is_bad(outcome.cell):  # it ended before it could be pruned
                self.pruned.add(outcome.cell)
            try:
                score = read_score(outcome.cell.folder, search.task.headline)
            except (*DAMAGE, OSError, BenchmarkError) as error:
                reason = brief(error)
        if outcome.cell in self.pruned:
            search.study.prune(number)
            return "pruned"
        if score is not None:
            search.study.finish(number, score)
            return f"{search.task.headline} {in_percent(search.task, score):.2f} on dev"
        if outcome.end == "interrupted" or reason.startswith("interrupted by"):
            return reason
        search.study.fail(number, reason)
        return f"failed: {reason} ({outcome.cell.output})"


def _format_values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items())
