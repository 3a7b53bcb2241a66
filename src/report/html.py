"""The HTML report: results.html of the grid and report.html of a run. A page loads nothing: the scripts of its charts are inside.

The packages of requirements-report.txt are imported when a page is made; without them it is not written.
"""

import base64
import hashlib
import logging
import re
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.common.files import DAMAGE, damaged, read_json, write_lines
from src.data.task import Task
from src.metrics.metrics import display_name
from src.report.history import read_histories
from src.report.page import Page, page_of_run, page_of_table
from src.report.record import VIEWS, Cost, Origin, Record, Results, cautions
from src.report.table import Table
from src.runs.files import COST, RESULTS, SETTINGS, stage_of
from src.runs.grid_folder import model_name

if TYPE_CHECKING:
    from markupsafe import Markup

logger = logging.getLogger(__name__)

RUN_REPORT = "report.html"
TEMPLATES = Path(__file__).with_name("templates")
MEGABYTES = {"M": 1, "G": 1024}


def write_grid_page(path: Path, table: Table, with_texts: bool) -> None:
    """Write the page of a grid. with_texts: show the texts of all tasks, whatever their licences say."""
    _write(path, page_of_table(table, with_texts, list(read_histories(path.parent))))


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
    _write(folder / RUN_REPORT, page_of_run(record, task, with_texts))


def _write(path: Path, page: Page) -> None:
    """Write a page, and log that or, if a package is missing, how to get it."""
    try:
        write_lines(path, [render(page)], shared=True)
    except ModuleNotFoundError as error:
        logger.warning("%s is not written: %s. To get it: pip install -r requirements-report.txt", path, error)
    else:
        logger.info("written: %s (open it in a browser)", path)


def render(page: Page) -> str:
    """Return the HTML of a page. All texts are escaped, and a policy in the page allows its own scripts and nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from src.report import figures
    from src.report.charts import specifications

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"inline": inline, "number": number, "megabytes": megabytes}
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # Korean text is half as long
    scripts = [vega(), (TEMPLATES / "report.js").read_text(encoding="utf-8")]
    return environment.get_template("report.html.j2").render(
        page=page,
        table=page.table,
        figures=figures,
        cautions=cautions,
        display_name=display_name,
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        scripts=list(map(Markup, scripts)),
        script_hashes=Markup(" ".join(map(_hash, scripts))),
        specifications=specifications(),
        next_number=count(1).__next__,
    )


@cache
def vega() -> str:
    """Return the JavaScript of Vega-Embed and what it needs. It takes seconds to bundle."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _hash(script: str) -> str:
    """Return a script's digest in the form of a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def inline(line: str) -> "Markup":
    """Return a line of Markdown as HTML: `code` and **bold**; the rest is text."""
    from markupsafe import Markup, escape

    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(line)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", html))


def number(value: Any) -> Any:
    """Return a number with up to four digits, and anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else value


def megabytes(size: str) -> float | str:
    """Return a size in a table, 431M or 1.03G, as a number to sort by; empty if it is unknown."""
    unit = MEGABYTES.get(size[-1:])
    return float(size[:-1]) * unit if unit else ""
