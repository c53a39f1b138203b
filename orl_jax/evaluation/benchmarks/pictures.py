"""A benchmark as pictures: bars with intervals, and a radar where there are enough task types."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import markupsafe
import numpy as np
from matplotlib.projections.polar import PolarAxes

from orl_jax.evaluation.benchmarks.benchmarks import Benchmark
from orl_jax.evaluation.benchmarks.cells import Row
from orl_jax.report.bars import Bar, bars
from orl_jax.report.canvas import COLOURS, WIDE, canvas

COLOURS_OF_MODELS = ("sft", "rl", "control", "accent", "good", "bad")  # roles of `COLOURS`
FEWEST = 5  # task types; a radar of fewer is a triangle or a square
_LINES = ("-", (0, (4, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 2)), (0, (3, 3)))
_MARKERS = "osD^vP"
_WRAP = 13  # characters a line of a label


def colours(models: Sequence[str]) -> dict[str, str]:
    """A colour for each model, in their order; at most six.

    Example: `colours(["SFT", "RL"]) == {"SFT": "sft", "RL": "rl"}`.
    """
    return dict(zip(models, COLOURS_OF_MODELS, strict=False))


def headline_bars(benchmark: Benchmark, colour: Mapping[str, str]) -> markupsafe.Markup:
    """Bars of the headline by task type and of all items, with their 95 % intervals.

    Example: `headline_bars(benchmark, colours(["SFT", "RL"]))`.
    """
    table = [*benchmark.groups.get("task_type", ()), benchmark.all]
    groups = [(_label(row), list(_bars(row, benchmark.headline.measure, colour))) for row in table]
    name = f"{benchmark.title}, {benchmark.split}: {benchmark.headline.measure} by task type"
    return bars(groups, name=name)


def headline_radar(benchmark: Benchmark, colour: Mapping[str, str]) -> markupsafe.Markup | None:
    """The headline by task type on spokes; None below `FEWEST` task types.

    A model without a number on a spoke has a gap there.

    Example: `headline_radar(benchmark, colours(["SFT", "RL"]))`.
    """
    table = benchmark.groups.get("task_type", ())
    if len(table) < FEWEST:
        return None
    values = {model: _means(table, model, benchmark.headline.measure) for model in benchmark.scored}
    name = f"{benchmark.title}, {benchmark.split}: {benchmark.headline.measure} as a radar"
    side, height = 0.58 * WIDE, 0.58 * WIDE + 84.0
    with canvas(name, height, WIDE) as (figure, svg):
        axes = figure.add_axes((0.21, 42 / height, 0.58, side / height), projection="polar")
        turns = _spokes(axes, [row["name"] for row in table])
        for place, (model, of_model) in enumerate(values.items()):
            axes.plot([*turns, turns[0]], [*of_model, of_model[0]], color=COLOURS[colour[model]],
                      linestyle=_LINES[place], marker=_MARKERS[place], markersize=3.2,
                      linewidth=1.6, zorder=3)  # fmt: skip
        _rings(axes, max(v for each in values.values() for v in [*each, 0] if not math.isnan(v)))
    return svg[0]


def _label(row: Row) -> str:
    return f"{row['name']} ({row['n']:,}{'*' if row['small'] else ''})"


def _bars(row: Row, measure: str, colour: Mapping[str, str]) -> list[Bar]:
    cells = {model: found[measure] for model, found in row["models"].items()}
    return [
        Bar(cell["mean"], cell["low"], cell["high"], colour[model])
        for model, cell in cells.items()
        if cell["mean"] is not None
    ]


def _means(table: Sequence[Row], model: str, measure: str) -> list[float]:
    means = [row["models"][model][measure]["mean"] for row in table]
    return [math.nan if mean is None else 100 * mean for mean in means]


def _spokes(axes: PolarAxes, names: Sequence[str]) -> list[float]:
    """Their angles, clockwise from the top; labels stand away from the circle."""
    turns = np.linspace(0, 2 * np.pi, len(names), endpoint=False).tolist()
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    axes.set_xticks(turns, [])
    for turn, name in zip(turns, names, strict=True):
        side = math.sin(turn)
        across = "center" if abs(side) < 0.2 else "left" if side > 0 else "right"
        axes.annotate(
            "\n".join(textwrap.wrap(name, _WRAP)), (turn, 1.0), xycoords=axes.get_xaxis_transform(),
            xytext=(7 * side, 7 * math.cos(turn)), textcoords="offset points", ha=across,
            va="bottom" if math.cos(turn) > 0.9 else "top" if math.cos(turn) < -0.9 else "center",
            color=COLOURS["ink"], fontsize=9, linespacing=1.1, annotation_clip=False,
        )  # fmt: skip
    return turns


def _rings(axes: PolarAxes, largest: float) -> None:
    """Every 20 per cent, up to the ring beyond the largest value."""
    last = min(100, 20 * math.ceil((largest + 1e-9) / 20)) or 20
    rings = list(range(20, last + 1, 20))
    axes.set_ylim(0, last)
    axes.set_yticks(rings, [f"{ring} %" if ring < last else "" for ring in rings])
    axes.set_rlabel_position(180 / max(len(axes.get_xticks()), 1))
    axes.tick_params(axis="y", labelsize=8, colors=COLOURS["muted"])
    axes.grid(color=COLOURS["line"], linewidth=1)
    axes.spines["polar"].set_color(COLOURS["line"])
    axes.patch.set_visible(False)
