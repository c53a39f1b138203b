"""Bars and histograms as inline SVG."""

import dataclasses
from collections.abc import Sequence

import markupsafe
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orl_jax.report.canvas import COLOURS, WIDE, bare, canvas
from orl_jax.report.wording import Number

_LEFT, _BOTTOM = 38.0, 36.0  # margins of a histogram, units


@dataclasses.dataclass(frozen=True)
class Bar:
    """A share in [0, 1] with its interval (`low`, `high`); `colour` is a role of `COLOURS`."""

    value: Number
    low: Number
    high: Number
    colour: str


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Values of one period: `label` and `note` stand left and right above it."""

    label: str
    values: Sequence[Number]
    note: str = ""


def bars(groups: Sequence[tuple[str, Sequence[Bar]]], *, name: str) -> markupsafe.Markup:
    """Horizontal bars of shares in per cent: a labelled group for each entry, first one on top."""
    thick, gap, head = 9.0, 4.0, 20.0
    tops, total = [], 4.0
    for _, group in groups:
        tops.append(total)
        total += head + len(group) * (thick + gap) + 8.0
    with canvas(name, total + 22.0, WIDE) as (figure, svg):
        axes = figure.add_axes((0.01, 22 / (total + 22), 0.98, total / (total + 22)))
        axes.set(xlim=(0, 118), ylim=(total, 0))
        bare(axes)
        _percent_grid(axes)
        for (label, group), top in zip(groups, tops, strict=True):
            axes.text(0, top + head - 9, label, color=COLOURS["ink"], fontsize=11, va="center")
            for i, bar in enumerate(group):
                _draw_bar(axes, bar, top + head + i * (thick + gap) + thick / 2, thick)
    return svg[0]


def histograms(
    periods: Sequence[Histogram], *, x_label: str, name: str, signed: bool = False
) -> markupsafe.Markup:
    """Histograms above one another on common bins and axes, as shares of their period's values.

    Values that are exactly 0 are left out (the note is the place to say how many): there are so
    many of them that all else would be flat.

    Args:
      signed: colour negative values as bad and positive ones as good.
    """
    moved = [
        np.array([v for v in period.values if v != 0 and np.isfinite(v)]) for period in periods
    ]
    edges = _edges(np.concatenate(moved) if moved else np.zeros(0))
    shares = [
        np.histogram(m, edges)[0] / max(len(p.values), 1)
        for m, p in zip(moved, periods, strict=True)
    ]
    height = 78.0 * len(periods) + _BOTTOM
    with canvas(name, height, WIDE) as (figure, svg):
        for i, (period, share) in enumerate(zip(periods, shares, strict=True)):
            bottom = _BOTTOM + 78.0 * (len(periods) - 1 - i)
            axes = figure.add_axes(
                (_LEFT / WIDE, bottom / height, 1 - (_LEFT + 8) / WIDE, 48 / height)
            )
            _draw_histogram(axes, edges, share, signed)
            axes.set_ylim(0, max(float(s.max()) for s in shares) * 1.05 or 1.0)
            _histogram_text(axes, period, x_label if i == len(periods) - 1 else "")
    return svg[0]


def _percent_grid(axes: Axes) -> None:
    axes.set_yticks([])
    axes.set_xticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
    for x in (0, 25, 50, 75, 100):
        axes.axvline(x, color=COLOURS["line"], linewidth=1, zorder=0)


def _draw_bar(axes: Axes, bar: Bar, y: Number, thick: Number) -> None:
    axes.barh(y, 100 * bar.value, height=thick, color=COLOURS[bar.colour], zorder=2)
    whisker = [100 * bar.low, 100 * bar.high]
    axes.plot(whisker, [y, y], color=COLOURS["ink"], linewidth=1, alpha=0.55, zorder=3)
    axes.text(117, y, f"{100 * bar.value:.1f}", color=COLOURS["ink"], fontsize=10, ha="right",
              va="center")  # fmt: skip


def _edges(values: np.ndarray) -> np.ndarray:
    """Edges of 30 bins with zero on one of them, so that no bin mixes signs."""
    reach = float(np.abs(values).max()) if len(values) else 1.0
    if len(values) and values.min() > 0:
        return np.linspace(0.0, reach * 1.0001, 31)
    return np.linspace(-reach * 1.0001, reach * 1.0001, 31)


def _draw_histogram(axes: Axes, edges: np.ndarray, share: np.ndarray, signed: bool) -> None:
    bare(axes)
    middle = (edges[1:] + edges[:-1]) / 2
    colours = [COLOURS["good" if m > 0 else "bad"] if signed else COLOURS["accent"] for m in middle]
    axes.bar(middle, share, width=np.diff(edges) * 0.88, color=colours, zorder=2)
    axes.axvline(0, color=COLOURS["muted"], linewidth=1, zorder=1)
    axes.axhline(0, color=COLOURS["line"], linewidth=1, zorder=1)
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _histogram_text(axes: Axes, period: Histogram, x_label: str) -> None:
    for x, text, side, colour in (
        (0, period.label, "left", "ink"),
        (1, period.note, "right", "muted"),
    ):
        axes.text(x, 1.08, text, color=COLOURS[colour], fontsize=10, ha=side, va="bottom",
                  transform=axes.transAxes)  # fmt: skip
    if x_label:
        axes.set_xlabel(x_label, color=COLOURS["muted"], fontsize=10, labelpad=3)
    else:
        axes.tick_params(labelbottom=False)
