"""results.md and results.csv, from the run folders alone."""

import csv
import io
import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from src.files import write_lines
from src.grid.cells import GRID, WRITTEN, Task
from src.grid.markdown import lines_of
from src.grid.published import Published
from src.grid.read_runs import read_grid
from src.grid.record import VIEWS, scores_of
from src.grid.table import COSTS, Shipped, Table, Value, mean_cost, missing, rows_of, unlike

logger = logging.getLogger(__name__)


def write_report(ckpt_dir: Path, known: Mapping[str, Task], published: Published, config_dir: Path) -> str:
    """Write results.md and results.csv into the grid of `ckpt_dir`, from its run folders alone; the text of the first.

    `config_dir`: the files that say how the published runs were made. Raises CheckpointError where there is no grid.
    """
    records, left = read_grid(ckpt_dir, known)
    shipped = Shipped(config_dir, known)
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        is_published = record.task in published.models.get(record.model, {}).get("scores", {})
        if is_published and (why := shipped.why_not_comparable(record)):
            reasons[record.model, record.task].append(why)
    texts, marked = unlike(records, known)
    left = left + missing(records, left, known)
    table = Table(rows_of(records, published, shipped), records, left, known, published, reasons, texts, marked)
    lines = list(lines_of(table))
    for name, content in zip(WRITTEN, (lines, _csv_lines(table)), strict=True):
        write_lines(ckpt_dir / GRID / name, content, shared=True)
    logger.info("written: %s", ", ".join(str(ckpt_dir / GRID / name) for name in WRITTEN))
    return "\n".join(lines)


def _csv_lines(table: Table) -> list[str]:
    """A line a view and model, in percent, with the same columns for every task."""
    numbers = ("mean", "sd", "n", "published", "difference", "tolerance", "verdict")
    header = ["view", "table", "model", "size"]
    for name, task in table.known.items():
        header += [f"{name}.{score}.{number}" for score in scores_of(task) for number in numbers]
        header += [f"{name}.{column}" for column in ("seeds", "unlike", "not_compared", *COSTS)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for view in VIEWS:
        for row in table.rows:
            line = [view, row.table, row.model, row.size]
            for name, task in table.known.items():
                values, records = table.values(row, name, view), row.records.get(name, ())
                for score in scores_of(task):
                    line += _csv_value(values[score]) if values else [""] * len(numbers)
                line += [" ".join(str(record.seed) for record in records), "yes" if (row.model, name) in table.marked else ""]
                line += ["; ".join(dict.fromkeys(table.reasons.get((row.model, name), ())))]
                line += [_number(mean_cost(records, cost)) if records else "" for cost in COSTS]
            writer.writerow(line)
    return stream.getvalue().splitlines()


def _csv_value(value: Value) -> list[str]:
    published = value.published
    tolerance = published.tolerance if published and value.comparable else None
    theirs = published.value if published else None
    found = [value.mean, value.sd, value.n, theirs, value.difference, tolerance]
    return [*map(_number, found), value.verdict]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
