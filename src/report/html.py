"""The HTML report: one page that loads nothing, with the scripts of its charts inside."""

import base64
import hashlib
import re
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from src.report.charts import specifications
from src.report.page import Page

TEMPLATES = Path(__file__).with_name("templates")


def render(page: Page) -> str:
    """Return the HTML of a page. All texts are escaped, and a policy in the page allows its own scripts and nothing else."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"inline": inline, "number": number}
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # Korean text is half as long
    scripts = [vega(), (TEMPLATES / "report.js").read_text(encoding="utf-8")]
    return environment.get_template("report.html.j2").render(
        page=page,
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        scripts=list(map(Markup, scripts)),
        script_hashes=Markup(" ".join(map(_hash, scripts))),
        specifications=specifications(),
        next_number=count(1).__next__,
    )


@cache
def vega() -> str:
    """Return the JavaScript of Vega-Embed and what it needs. It takes seconds to bundle."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _hash(script: str) -> str:
    """Return a script's digest in the form of a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def inline(line: str) -> Markup:
    """Return a line of Markdown as HTML: `code` and **bold**; the rest is text."""
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(line)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", html))


def number(value: Any) -> Any:
    """Return a number with up to four digits, and anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else value
