"""Curves over steps as inline SVG."""

import dataclasses
from collections.abc import Sequence

import markupsafe
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orl_jax.report.canvas import COLOURS, NARROW, WIDE, bare, canvas
from orl_jax.report.wording import Number

_LEFT, _RIGHT, _TOP, _BOTTOM = 38.0, 50.0, 30.0, 36.0  # margins, units
_SMOOTH_FROM = 30  # points; shorter curves are drawn as they are


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line: `label` names it at its end, `colour` is a role of `COLOURS`."""

    label: str
    steps: Sequence[Number]
    values: Sequence[Number]
    colour: str = "rl"


def lines(
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    limits: tuple[Number, Number] | None = None,
    width: Number = NARROW,
    name: str,
) -> markupsafe.Markup:
    """Curves over steps, each named with its last value at its right end.

    Curves of `_SMOOTH_FROM` points and more are shown pale, with a running mean over a twentieth of
    them on top.

    Args:
      limits: of the y axis; from the data when None.
      width: `NARROW` or `WIDE`.
      name: says what the figure is, for readers who cannot see it; also keeps its ids apart.
    """
    with canvas(name, 190.0, width) as (figure, svg):
        axes = _axes(figure)
        ends = [_draw_curve(axes, curve) for curve in curves]
        if limits:
            axes.set_ylim(*limits)
        _label(axes, x_label, y_label)
        _name_ends(axes, curves, ends)
    return svg[0]


def signed_line(
    curve: Curve, *, x_label: str, y_label: str, above: str, below: str, name: str
) -> markupsafe.Markup:
    """A curve in [-1, 1] around zero; `above` and `below` say what its sign means."""
    with canvas(name, 250.0, WIDE) as (figure, svg):
        axes = _axes(figure)
        end = _draw_curve(axes, curve)
        axes.set_ylim(-1.05, 1.05)
        axes.axhline(0, color=COLOURS["muted"], linewidth=1)
        for low, high, colour in ((0, 1.05, "good"), (-1.05, 0, "bad")):
            axes.axhspan(low, high, color=COLOURS[colour], alpha=0.07, linewidth=0)
        # Next to the zero line, or at the far ends where the curve itself runs near zero.
        height = 0.1 if np.nanmean(np.abs(curve.values)) > 0.4 else 0.95
        for y, text, colour in ((height, above, "good"), (-height, below, "bad")):
            axes.annotate(text, (0.02, y), xycoords=("axes fraction", "data"), va="center",
                          color=COLOURS[colour], fontsize=10)  # fmt: skip
        _label(axes, x_label, y_label)
        _name_ends(axes, [curve], [end])
    return svg[0]


def _axes(figure: Figure) -> Axes:
    width, height = (72 * inches for inches in figure.get_size_inches())
    right, top = 1 - _RIGHT / width, 1 - _TOP / height
    left, bottom = _LEFT / width, _BOTTOM / height
    axes = figure.add_axes((left, bottom, right - left, top - bottom))
    bare(axes)
    axes.grid(axis="y", color=COLOURS["line"], linewidth=1)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.margins(x=0.02, y=0.12)
    return axes


def _label(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, color=COLOURS["muted"], fontsize=10, labelpad=3)
    # Above the axis instead of along it: readable without turning the head.
    axes.annotate(y_label, (0, 1), xycoords="axes fraction", xytext=(-_LEFT + 4, 12),
                  textcoords="offset points", color=COLOURS["muted"], fontsize=10)  # fmt: skip


def _draw_curve(axes: Axes, curve: Curve) -> Number:
    """Draws a curve and returns the height of its right end."""
    colour, values = COLOURS[curve.colour], np.asarray(curve.values, float)
    if len(values) < _SMOOTH_FROM:
        axes.plot(curve.steps, values, color=colour, linewidth=1.8, marker="o", markersize=3.5)
        smooth = values
    else:
        smooth = running_mean(values, max(1, len(values) // 40))
        axes.plot(curve.steps, values, color=colour, linewidth=1, alpha=0.3)
        axes.plot(curve.steps, smooth, color=colour, linewidth=1.8)
    finite = smooth[np.isfinite(smooth)]
    return float(finite[-1]) if len(finite) else np.nan


def running_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean over each value and `reach` neighbours on both sides (fewer at the ends), without NaN.

    Args:
      values: Number [N].

    Returns:
      float [N], NaN where all of a window is.
    """
    windows = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return np.array([w[np.isfinite(w)].mean() if np.isfinite(w).any() else np.nan for w in windows])


def _name_ends(axes: Axes, curves: Sequence[Curve], ends: Sequence[Number]) -> None:
    """Names curves at their right ends, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    needed = (high - low) * (0.2 if len(curves) > 1 else 0.1)
    height = -np.inf
    for end, curve in sorted(zip(ends, curves, strict=True), key=lambda pair: pair[0]):
        if not np.isfinite(end):
            continue
        height = max(end, height + needed)
        text = _short(end) if len(curves) == 1 else f"{curve.label}\n{_short(end)}"
        axes.annotate(text, (1, height), xycoords=("axes fraction", "data"), xytext=(5, 0),
                      textcoords="offset points", color=COLOURS[curve.colour], fontsize=10,
                      va="center", linespacing=1.1)  # fmt: skip


def _short(value: Number) -> str:
    """Three significant digits (two below 0.1), without an exponent where it can be helped."""
    text = f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2g}"
    return f"{value:.0f}" if "e+" in text else text.replace("-", "\N{MINUS SIGN}")
