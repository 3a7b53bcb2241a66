"""Write the HTML pages, results.html of the grid and report.html of a run, if the packages that they need are installed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.common.files import DAMAGE, damaged, read_json, write_lines
from src.data.task import Task
from src.report.history import read_histories
from src.report.record import VIEWS, Cost, Origin, Record, Results
from src.report.table import Table
from src.runs.files import COST, RESULTS, SETTINGS, stage_of
from src.runs.grid_folder import model_name

logger = logging.getLogger(__name__)

RUN_REPORT = "report.html"


def write_grid_page(path: Path, table: Table, with_texts: bool) -> None:
    """Write the page of a grid. with_texts: show the texts of all tasks, whatever their licences say."""
    with _explained(path):
        from src.report.html import render
        from src.report.page import page_of_table

        page = page_of_table(table, with_texts, list(read_histories(path.parent)))
        write_lines(path, [render(page)], shared=True)


def write_run_page(folder: Path, task: Task, with_texts: bool) -> None:
    """Write report.html into the folder of a finished run; log why if there is nothing to report.

    Raises CheckpointError if its files are damaged.
    """
    settings, results, cost = (read_json(folder / name) for name in (SETTINGS, RESULTS, COST))
    if stage_of(folder) != "finished" or not all((results.get(view) or {}).get("test") for view in VIEWS):
        logger.warning("%s is not written: the run is not finished, or has no test scores", folder / RUN_REPORT)
        return
    try:
        origin, seed = Origin(**settings), settings["settings"]["seed"]
        model = model_name(origin.settings, origin.layers)
        record = Record(model, results["task"], task.kind, seed, folder, origin, Results(**results), Cost(**cost))
    except DAMAGE as error:
        raise damaged(folder, error) from None
    with _explained(folder / RUN_REPORT):
        from src.report.html import render
        from src.report.page import page_of_run

        write_lines(folder / RUN_REPORT, [render(page_of_run(record, task, with_texts))], shared=True)


@contextmanager
def _explained(page: Path) -> Iterator[None]:
    """Log that a page is written by the block or, if a package is missing, how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        logger.warning("%s is not written: %s. To get it: pip install -r requirements-report.txt", page, error)
    else:
        logger.info("written: %s (open it in a browser)", page)
