"""The pictures of an audit as inline SVG, in the page's colours."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import markupsafe
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from orl_jax.report.canvas import COLOURS, WIDE, bare, canvas

_MARGINS = (44.0, 14.0, 34.0, 40.0)  # left, right, top, bottom; units


def distribution(
    values: Sequence[float],
    *,
    limits: tuple[float, float] | None,
    x_label: str,
    what: str = "groups",
    name: str,
) -> markupsafe.Markup | None:
    """How many groups (or `what` it is) have which value, and their mean; None without a value.

    Args:
      values: NaN are left out.
      limits: of the x axis; from 0 to the largest value where None.
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return None
    low, high = limits or (0.0, max(known) * 1.02 or 1.0)
    with _frame(name, 210.0, x_label, what) as (axes, svg):
        counts, edges = np.histogram(known, np.linspace(low, high, 22))
        axes.bar((edges[1:] + edges[:-1]) / 2, counts, np.diff(edges) * 0.88,
                 color=COLOURS["rl"], zorder=2)  # fmt: skip
        mean = float(np.mean(known))
        axes.axvline(mean, color=COLOURS["ink"], linewidth=1.2, zorder=3)
        side = "right" if mean > (low + high) / 2 else "left"
        axes.annotate(f"mean {mean:.3g}", (mean, 1), xycoords=("data", "axes fraction"),
                      xytext=(-5 if side == "right" else 5, 2), textcoords="offset points",
                      ha=side, color=COLOURS["ink"], fontsize=10)  # fmt: skip
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return svg[0]


def by_type(
    rows: Sequence[tuple[str, Mapping[str, Any]]], *, limit: float | None, name: str
) -> markupsafe.Markup | None:
    """A dot with its interval for each task type, first one on top; None without a value.

    Args:
      rows: task type and interval.
      limit: drawn as a line.
    """
    rows = [row for row in rows if row[1]["mean"] is not None]
    if not rows:
        return None
    height = 40.0 * len(rows) + 34.0
    with canvas(name, height, WIDE) as (figure, svg):
        axes = figure.add_axes((0.03, 26 / height, 0.94, 1 - 30 / height))
        low = min(-0.05, *(row[1]["low"] - 0.05 for row in rows))
        axes.set(xlim=(low, 1.05), ylim=(len(rows) - 0.3, -0.75))
        bare(axes)
        axes.set_yticks([])
        axes.axvline(0, color=COLOURS["line"], linewidth=1)
        if limit is not None and limit > low:
            axes.axvline(limit, color=COLOURS["bad"], linewidth=1, linestyle=(0, (4, 3)))
        for place, (label, found) in enumerate(rows):
            _whisker(axes, found, place, low, f"{label} ({found['n']})")
    return svg[0]


def slots(
    series: Sequence[tuple[str, Mapping[str, Any], str]], *, name: str
) -> markupsafe.Markup | None:
    """Mean rank by slot of presentation with intervals; a fair Oracle is level.

    Args:
      series: label, `bias.position_bias` and colour; of one group size.
    """
    if not series:
        return None
    size = series[0][1]["size"]
    with _frame(name, 230.0, "slot in which the answer was shown", "mean rank, 0 = best") as frame:
        axes, svg = frame
        axes.axhline((size - 1) / 2, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
        for shift, (label, found, colour) in enumerate(series):
            places = np.arange(1, found["size"] + 1) + 0.12 * (shift - (len(series) - 1) / 2)
            means, lows, highs = (
                [m[key] for m in found["mean_ranks"]] for key in ("mean", "low", "high")
            )
            axes.vlines(places, lows, highs, color=COLOURS[colour], linewidth=1.4)
            axes.plot(places, means, "o-", color=COLOURS[colour], linewidth=1.2, markersize=5,
                      label=label)  # fmt: skip
        axes.set_ylim(size - 0.8, -0.2)
        axes.set_xticks(range(1, size + 1))
        _legend(axes, len(series))
    return svg[0]


def rank_against_length(length: Mapping[str, Any], *, name: str) -> markupsafe.Markup | None:
    """Mean rank of the shortest ... longest answer of a group, of the Oracle and of the truth."""
    if not length["oracle"]["rank"]:
        return None
    size = len(length["oracle"]["rank"])
    x_label = "mean words, from the shortest to the longest of a group"
    with _frame(name, 230.0, x_label, "mean rank, 0 = best") as (axes, svg):
        places = np.arange(1, size + 1)
        for who, label, colour in (("oracle", "Oracle", "rl"), ("truth", "truth", "control")):
            axes.plot(places, length[who]["rank"], "o-", color=COLOURS[colour], linewidth=1.6,
                      markersize=5, label=label)  # fmt: skip
        axes.set_ylim(size - 0.8, -0.2)
        axes.set_xticks(places, [f"{words:.3g}" for words in length["oracle"]["length"]])
        _legend(axes, 2)
    return svg[0]


def counts(numbers: Mapping[str, int], *, name: str) -> markupsafe.Markup | None:
    """Horizontal bars of counts, with their labels above them; None without any."""
    if not numbers:
        return None
    height = 36.0 * len(numbers) + 8.0
    with canvas(name, height, WIDE) as (figure, svg):
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
        most = max(numbers.values())
        axes.set(xlim=(0, most * 1.15), ylim=(len(numbers) - 0.4, -0.6))
        axes.axis("off")
        for place, (label, count) in enumerate(numbers.items()):
            axes.barh(place + 0.2, count, height=0.3, color=COLOURS["bad"])
            axes.text(0, place - 0.2, label[:60], color=COLOURS["ink"], fontsize=10, va="center")
            axes.text(count + most * 0.02, place + 0.2, f"{count:,}", color=COLOURS["ink"],
                      fontsize=10, va="center")  # fmt: skip
    return svg[0]


@contextmanager
def _frame(
    name: str, height: float, x_label: str, y_label: str
) -> Iterator[tuple[Axes, list[markupsafe.Markup]]]:
    """Axes with the labels of the house: the y label above, read without turning the head."""
    left, right, top, bottom = _MARGINS
    with canvas(name, height, WIDE) as (figure, svg):
        axes = figure.add_axes(
            (left / WIDE, bottom / height, 1 - (left + right) / WIDE, 1 - (top + bottom) / height)
        )
        bare(axes)
        axes.grid(axis="y", color=COLOURS["line"], linewidth=1)
        axes.set_axisbelow(True)
        axes.set_xlabel(x_label, color=COLOURS["muted"], fontsize=10, labelpad=3)
        axes.annotate(y_label, (0, 1), xycoords="axes fraction", xytext=(-left + 4, 18),
                      textcoords="offset points", color=COLOURS["muted"], fontsize=10)  # fmt: skip
        yield axes, svg


def _whisker(axes: Axes, found: Mapping[str, Any], place: int, low: float, label: str) -> None:
    axes.text(low, place - 0.38, label, color=COLOURS["ink"], fontsize=10, va="center")
    axes.plot([found["low"], found["high"]], [place, place], color=COLOURS["rl"], linewidth=1.4)
    axes.plot(found["mean"], place, "o", color=COLOURS["rl"], markersize=6)
    axes.text(1.05, place - 0.38, f"{found['mean']:.2f}", color=COLOURS["ink"], fontsize=10,
              ha="right", va="center")  # fmt: skip


def _legend(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1.0), ncols=count, frameon=False, fontsize=10,
            labelcolor=COLOURS["ink"], borderpad=0, handlelength=1.2,
        )  # fmt: skip
