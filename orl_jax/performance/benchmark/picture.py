"""The benchmark as a picture: a panel for stages, curves and each peer that were measured."""

import os
from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orl_jax.performance.benchmark.table import PEER_NAMES, in_order
from orl_jax.run.disk import naming

_BLUE, _GREY, _ORANGE = "#4477aa", "0.75", "#ee7733"


def draw(found: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a PNG.

    Args:
      found: as `benchmark.run` returns it.
    """
    panels = [(_PANELS[name], part) for name, part in in_order(found, _PANELS)]
    if not panels:
        return
    figure = Figure(figsize=(5.4 * len(panels), 4.2), dpi=130, layout="constrained")
    places = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (panel, part) in zip(places, panels, strict=True):
        panel(axes, part)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    with naming(path):
        figure.savefig(path)


def _stages(axes: Axes, part: dict[str, Any]) -> None:
    rows = part["rows"][::-1]
    names = [row["name"] for row in rows]
    bars = axes.barh(
        names, [row["timing"]["median"] for row in rows], color=_GREY, label="measured"
    )
    shares = ["" if row["cost"] is None else f" {row['share']:.0%}" for row in rows]
    axes.bar_label(bars, shares, fontsize=8)
    axes.barh(names, [row["bound"] for row in rows], color=_BLUE, label="roofline")
    axes.set(xscale="log", xlabel="seconds", title="Stages of a step, share of the roofline")
    axes.set_ylim(-0.6, len(rows) + 0.3)  # room for the legend
    axes.legend(frameon=False, ncols=2, loc="upper left")


def _curves(axes: Axes, part: dict[str, Any]) -> None:
    for name, curve in part["axes"].items():
        points = curve["points"]
        values = [point["value"] for point in points]
        label = f"{name}: exponent {curve['exponent']:.2f}"
        axes.plot(values, [p["median"] for p in points], marker="o", label=label)
        low, high = ([point[key] for point in points] for key in ("low", "high"))
        axes.fill_between(values, low, high, alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="size", ylabel="seconds", title="A whole step")
    axes.legend(frameon=False)


def _peer(axes: Axes, part: dict[str, Any]) -> None:
    for place, side in enumerate(("theirs", "ours")):
        left = 0.0
        for number, (name, value) in enumerate(part[side]["parts"].items()):
            colour = (_BLUE, _GREY, _ORANGE, "0.55", "#228833", "0.85")[number]
            axes.barh(place, value, left=left, color=colour)
            if value > 0.06 * part["theirs"]["median"]:
                axes.text(left + value / 2, place, name, ha="center", va="center", fontsize=8)
            left += value
    axes.set_yticks((0, 1), (PEER_NAMES[part["peer"]], "orl_jax"))
    axes.set(xlabel="seconds", title=f"One GRPO step: {part['ratio']['median']:.2f} times as fast")


_PANELS: dict[str, Callable[[Axes, dict[str, Any]], None]] = {
    "stages": _stages,
    "curves": _curves,
    "peer": _peer,
}
