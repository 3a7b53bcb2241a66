"""Write results.md, results.csv and results.html from the run folders of the grid."""

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.common.files import write_lines
from src.data.task import Tasks
from src.report.comparability import PublishedSettings, find_differences
from src.report.html import write_grid_page
from src.report.markdown import format_report
from src.report.published import SHOWN, Published, PublishedRow
from src.report.read_runs import folders_to_read, missing_runs, read_grids
from src.report.record import VIEWS, ModelAndTask, cautions, group
from src.report.smallest import VIEW as SMALLEST_OF
from src.report.smallest import smallest_differences
from src.report.table import COSTS, Row, Smallest, Table, make_rows, mean_cost
from src.runs.grid_folder import GRID, REPORTS, is_tuned

logger = logging.getLogger(__name__)

CSV_COLUMNS = (
    "model", "title", "table", "size", "task", "score", "view", "seeds", "mean", "sd", "n",
    "published", "difference", "tolerance", "verdict", "flagged", "not_compared", *COSTS, "source", "protocol", "trials",
    "cautions", "smallest_difference",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What a report reads, and what it shows."""

    ckpt_dir: Path  # whose grid is read, and gets the report
    merged: Sequence[Path] = ()  # other folders whose grids are read, too
    published: str = SHOWN[0]  # which published rows, see SHOWN
    with_texts: bool = False  # show the texts of all tasks in results.html, whatever their licences say


def write_report(request: Request, tasks: Tasks, published: Published, config_dir: Path) -> str:
    """Write results.md, results.csv and results.html into the grid of `request.ckpt_dir`, and return the text of results.md.

    config_dir: the config files with the settings of the published runs. Raises CheckpointError if there is no grid.
    """
    table = make_table(request, tasks, published, config_dir)
    lines = list(format_report(table))
    markdown, table_file, page = (request.ckpt_dir / GRID / name for name in REPORTS)
    write_lines(markdown, lines, shared=True)
    write_lines(table_file, _csv_lines(table), shared=True)
    logger.info("written: %s, %s", markdown, table_file)
    write_grid_page(page, table, request.with_texts)
    return "\n".join(lines)


def make_table(request: Request, tasks: Tasks, published: Published, config_dir: Path) -> Table:
    """Return everything that the report shows. Arguments and errors as for write_report."""
    records, others = read_grids(folders_to_read(request.ckpt_dir, request.merged), tasks)
    settings = PublishedSettings(config_dir, tasks, published)
    reasons = [((record.model, record.task), settings.reason_not_comparable(record)) for record in records]
    not_comparable = group((cell, reason) for cell, reason in reasons if reason)
    rows = make_rows(records, published, settings)
    differences: dict[str, list[str]] = {}
    flagged: set[ModelAndTask] = set()
    not_reported = list(others)
    for tuned in (False, True):  # tuned runs are never mixed with the others
        own = [record for record in records if is_tuned(record.model) == tuned]
        own_others = [run for run in others if is_tuned(run.place.split("/")[0]) == tuned]
        not_reported += missing_runs(own, own_others, tasks)
        found, deviating = find_differences(own, tasks)
        flagged |= deviating
        for text, names in found.items():
            differences[text] = differences.get(text, []) + names
    published_rows = list(published.rows(request.published))
    smallest: list[Smallest] = []
    for name, task in tasks.items():
        runs = {row.title: row.records[name] for row in rows if name in row.records and (row.model, name) not in flagged}
        smallest += smallest_differences(task, name, runs)
    return Table(rows, published_rows, records, not_reported, tasks, published, not_comparable, differences, flagged, smallest)


def _csv_lines(table: Table) -> list[str]:
    """Return results.csv: one line per model, task, score and view, then one per published score; scores in percent."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in (*_csv_rows(table), *_published_csv_rows(table)):
        writer.writerow({name: f"{value:.10g}" if isinstance(value, float) else value for name, value in row.items()})
    return stream.getvalue().splitlines()


def _csv_rows(table: Table) -> Iterator[dict[str, object]]:
    """Yield the values of each line by column; those that are None or missing are written as ""."""
    smallest = {(item.task, item.score): item.difference for item in table.smallest}
    for row in table.rows:
        for task in (name for name in table.tasks if name in row.records):
            records, costs = row.records[task], {cost: mean_cost(row.records[task], cost) for cost in COSTS}
            about = _about(row) | {
                "task": task,
                "seeds": " ".join(str(record.seed) for record in records),
                "flagged": "yes" if table.flag(row.model, task) else None,
                "cautions": "; ".join(cautions(records)),
                "not_compared": "; ".join(dict.fromkeys(table.not_comparable.get((row.model, task), ()))),
            }
            for view in VIEWS:
                for score, value in table.values(row, task, view).items():
                    numbers: dict[str, object] = {
                        "mean": value.mean,
                        "sd": value.sd,
                        "n": value.n,
                        "trials": value.trials or None,
                    }
                    numbers |= {"difference": value.difference, "verdict": value.verdict}
                    numbers["smallest_difference"] = smallest.get((task, score)) if view == SMALLEST_OF else None
                    if published := value.published:
                        tolerance = published.tolerance if value.comparable else None
                        numbers |= {"published": published.value, "tolerance": tolerance}
                    yield about | costs | {"score": score, "view": view} | numbers


def _published_csv_rows(table: Table) -> Iterator[dict[str, object]]:
    for row in table.published_rows:
        not_compared = table.published.reason_not_compared(row.source)
        about = _about(row) | {"source": row.source, "protocol": row.protocol, "not_compared": not_compared}
        for task in (name for name in table.tasks if name in row.scores):
            for score, printed in row.scores[task].items():
                numbers = {"mean": float(printed.text), "sd": printed.sd, "n": printed.n}
                yield about | {"task": task, "score": score, "view": "published"} | numbers


def _about(row: Row | PublishedRow) -> dict[str, object]:
    return {"model": row.model, "title": row.title, "table": row.table, "size": row.size}
