"""Write results.md and results.csv from the run folders of the grid."""

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from src.data import Tasks
from src.files import write_lines
from src.grid.cells import GRID, REPORTS
from src.grid.comparability import PublishedSettings, find_differences
from src.grid.markdown import format_report
from src.grid.published import Published
from src.grid.read_runs import missing_runs, read_grid
from src.grid.record import VIEWS, ModelAndTask
from src.grid.table import COSTS, Table, make_rows, mean_cost

logger = logging.getLogger(__name__)

CSV_COLUMNS = (
    "model", "title", "table", "size", "task", "score", "view", "seeds", "mean", "sd", "n",
    "published", "difference", "tolerance", "verdict", "flagged", "not_compared", *COSTS,
)  # fmt: skip


def write_report(ckpt_dir: Path, tasks: Tasks, published: Published, config_dir: Path) -> str:
    """Write results.md and results.csv into the grid of `ckpt_dir`, and return the text of results.md.

    `config_dir`: the config files with the settings of the published runs. Raises CheckpointError if there is no grid.
    """
    table = make_table(ckpt_dir, tasks, published, config_dir)
    lines = list(format_report(table))
    for name, content in zip(REPORTS, (lines, _csv_lines(table)), strict=True):
        write_lines(ckpt_dir / GRID / name, content, shared=True)
    logger.info("written: %s", ", ".join(str(ckpt_dir / GRID / name) for name in REPORTS))
    return "\n".join(lines)


def make_table(ckpt_dir: Path, tasks: Tasks, published: Published, config_dir: Path) -> Table:
    """Return everything that the report shows, from the run folders alone."""
    records, others = read_grid(ckpt_dir, tasks)
    settings = PublishedSettings(config_dir, tasks, published)
    not_comparable: dict[ModelAndTask, list[str]] = defaultdict(list)
    for record in records:
        if reason := settings.reason_not_comparable(record):
            not_comparable[record.model, record.task].append(reason)
    rows = make_rows(records, published, settings)
    not_reported = others + missing_runs(records, others, tasks)
    differences, flagged = find_differences(records, tasks)
    return Table(rows, records, not_reported, tasks, published, not_comparable, differences, flagged)


def _csv_lines(table: Table) -> list[str]:
    """Return results.csv: one line per model, task, score and view; scores in percent."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_value(value) for name, value in row.items()} for row in _csv_rows(table))
    return stream.getvalue().splitlines()


def _csv_rows(table: Table) -> Iterator[dict[str, object]]:
    for row in table.rows:
        for task in (name for name in table.tasks if name in row.records):
            records = row.records[task]
            costs = {cost: mean_cost(records, cost) for cost in COSTS}
            for view in VIEWS:
                for score, value in table.values(row, task, view).items():
                    yield {
                        "model": row.model,
                        "title": row.title,
                        "table": row.table,
                        "size": row.size,
                        "task": task,
                        "score": score,
                        "view": view,
                        "seeds": " ".join(str(record.seed) for record in records),
                        "mean": value.mean,
                        "sd": value.sd,
                        "n": value.n,
                        "published": value.published and value.published.value,
                        "difference": value.difference,
                        "tolerance": value.published.tolerance if value.published and value.comparable else None,
                        "verdict": value.verdict,
                        "flagged": "yes" if (row.model, task) in table.flagged else None,
                        "not_compared": "; ".join(dict.fromkeys(table.not_comparable.get((row.model, task), ()))),
                        **costs,
                    }


def _csv_value(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
