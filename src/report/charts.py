"""The charts of the HTML report: their Vega-Lite specifications, made with Altair, and the data that the page adds to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt

# Colours follow the page, light or dark: the charts are drawn as SVG, which knows its surroundings.
INK = "currentColor"
POINT_SIZE = 45
# What a point of `dots` stands for -> its shape and colour. The mean is a thin upright bar.
MARKS = {"seed": ("circle", "#4c78a8"), "mean": ("M-.2,-1H.2V1H-.2Z", INK), "published": ("diamond", "#8a929b")}


@dataclass(frozen=True)
class Figure:
    """A chart of the page with its data. `description` has the numbers for those who cannot see it."""

    chart: str  # a row of CHARTS
    caption: str
    description: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    has_table: bool = True  # whether its numbers are few enough to be shown as a table, too
    height: int = 240  # pixels, without the axis and the legend

    @property
    def data(self) -> dict[str, Any]:
        """The data as JSON. The page adds the names of the columns to every row, which would take most of the space."""
        rows = [[_brief(value) for value in row] for row in self.rows]
        return {"height": self.height, "columns": self.columns, "rows": rows}


def _brief(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def thin(points: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]


def _axes(x: str, x_title: str, y: str, y_title: str) -> tuple[alt.X, alt.Y]:
    """Return two axes for numbers, which need not begin at 0."""
    scale = alt.Scale(zero=False, nice=True)
    return alt.X(x, title=x_title, scale=scale), alt.Y(y, title=y_title, scale=scale)


def _legend(title: str | None) -> alt.Legend:
    return alt.Legend(title=title, orient="bottom", columns=4, labelLimit=140)


def dots() -> alt.LayerChart:
    """A row per model: a point per seed, the mean with an interval, and the published score."""
    models = alt.Y("model:N", title=None, sort=None, axis=alt.Axis(labelLimit=150))
    what = list(MARKS)
    shapes, colours = zip(*MARKS.values(), strict=True)
    shape = alt.Shape("what:N", scale=alt.Scale(domain=what, range=shapes), legend=_legend(None))
    colour = alt.Color("what:N", scale=alt.Scale(domain=what, range=colours), legend=_legend(None))
    means = alt.Chart().transform_filter(alt.datum.what == "mean").mark_rule(strokeWidth=2, color=INK)
    points = alt.Chart().mark_point(filled=True, size=80, opacity=0.75)
    low, score = (
        alt.X(field, title="score in percent", scale=alt.Scale(zero=False, nice=True)) for field in ("low:Q", "score:Q")
    )
    of_points = points.encode(score, models, shape, colour, tooltip=["what:N", "seed:N", "score:Q"])
    return alt.layer(means.encode(low, alt.X2("high:Q"), models), of_points)


def cost() -> alt.Chart:
    """A point per run: training time and score."""
    encoding = alt.Color("model:N", sort=None, scale=alt.Scale(scheme="tableau20"), legend=_legend("model"))
    tooltip = ["model:N", "seed:N", "minutes:Q", "score:Q"]
    chart = alt.Chart().mark_circle(size=2 * POINT_SIZE)
    axes = _axes("minutes:Q", "minutes of training", "score:Q", "score in percent")
    return chart.encode(*axes, encoding, tooltip=tooltip)


def loss() -> alt.Chart:
    """A line per seed: the training loss by step."""
    chart = alt.Chart().mark_line(strokeWidth=1.5)
    return chart.encode(*_axes("step:Q", "step", "loss:Q", "loss"), alt.Color("seed:N", legend=_legend("seed")))


def scores() -> alt.Chart:
    """A line per seed and split: the score by step."""
    split = alt.StrokeDash("split:N", legend=_legend("split"))
    chart = alt.Chart().mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=18))
    axes = _axes("step:Q", "step", "score:Q", "score in percent")
    return chart.encode(*axes, alt.Color("seed:N", legend=_legend("seed")), split)


def reliability() -> alt.LayerChart:
    """The share of right predictions by their probability; on the diagonal the model is calibrated."""
    domain = alt.Scale(domain=[0, 1])
    x, y = alt.X("probability:Q", scale=domain), alt.Y("right:Q", title="share that is right", scale=domain)
    ends = alt.Data(values=[{"probability": 0, "right": 0}, {"probability": 1, "right": 1}])
    diagonal = alt.Chart(ends).mark_line(color=INK, opacity=0.4, strokeDash=[4, 4]).encode(x, y)
    curve = alt.Chart().mark_line(point=True).encode(x, y, tooltip=["probability:Q", "right:Q", "predictions:Q"])
    return alt.layer(diagonal, curve)


def scatter() -> alt.Chart:
    """Predicted score against the score in the file."""
    chart = alt.Chart().mark_circle(size=POINT_SIZE / 2, opacity=0.6)
    return chart.encode(*_axes("label:Q", "score in the file", "prediction:Q", "predicted score"))


def history() -> alt.LayerChart:
    """The score of every trial of a search, and the best so far as a line."""
    best = alt.Chart().transform_filter(alt.datum.what == "best so far").mark_line(interpolate="step-after", color=INK)
    points = alt.Chart().transform_filter(alt.datum.what != "best so far").mark_point(filled=True, size=2 * POINT_SIZE)
    x, y = _axes("trial:Q", "trial", "score:Q", "score on dev in percent")
    x = x.axis(tickMinStep=1, format="d")
    what = alt.Color("what:N", legend=_legend(None))
    return alt.layer(best.encode(x, y), points.encode(x, y, what, tooltip=["trial:Q", "what:N", "score:Q"]))


def importance() -> alt.Chart:
    """A bar per setting: its importance."""
    settings = alt.Y("setting:N", title=None, sort=None, axis=alt.Axis(labelLimit=150))
    return alt.Chart().mark_bar(color="#4c78a8").encode(alt.X("importance:Q", scale=alt.Scale(domain=[0, 1])), settings)


CHARTS = {make.__name__: make for make in (dots, cost, loss, scores, reliability, scatter, history, importance)}


@cache
def specifications() -> Mapping[str, dict[str, Any]]:
    """Return the Vega-Lite specification of each of CHARTS, without data and height."""
    config = {
        "background": "transparent",
        "view": {"stroke": None},
        "axis": dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor", "gridColor"), INK) | {"gridOpacity": 0.15},
        "legend": dict.fromkeys(("labelColor", "titleColor", "symbolBaseFillColor", "symbolBaseStrokeColor"), INK),
        "font": "system-ui, sans-serif",
        "aria": False,  # the page describes the chart
    }
    found = {}
    for name, make in CHARTS.items():
        chart = make().to_dict(validate=False)
        for part in (chart, *chart.get("layer", ())):
            if part.get("data") == {"name": "empty"}:  # Altair's way to say that data comes later
                del part["data"]
        found[name] = chart | {"width": "container", "config": config}
    return found
