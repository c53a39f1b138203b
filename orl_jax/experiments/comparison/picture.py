"""The comparison as a picture: learning curves of all arms, and where they end."""

import os
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orl_jax.run.disk import naming

LABELS = {"accuracy": "greedy exact match", "fact_score": "fact score of greedy answers"}


def draw(summary: dict[str, Any], path: str | os.PathLike[str], title: str = "") -> None:
    """Writes a PNG: on the left validation over steps, on the right the summary's split.

    Both show the summary's measure. Bands and bars are 95 % bootstrap intervals of the mean over
    seeds; one seed has none.
    """
    arms, measure = summary["arms"], summary["measure"]
    colours = matplotlib.colormaps["tab20" if len(arms) > 10 else "tab10"].colors
    height = max(4.2, 0.34 * len(arms) + 1.6)
    figure = Figure(figsize=(11, height), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    for (name, arm), colour in zip(arms.items(), colours, strict=False):
        _curve(left, arm["curves"].get(f"validation/{measure}", []), colour, name)
    left.set(xlabel="steps", ylabel=f"validation, {LABELS[measure]}")
    _ends(right, summary, colours)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    with naming(path):
        figure.savefig(path)


def _curve(axes: Axes, points: list[dict[str, float]], colour: Any, name: str) -> None:
    if len(points) < 2:  # controls, whose seeds take different numbers of steps
        return
    steps = [point["step"] for point in points]
    axes.plot(steps, [point["mean"] for point in points], color=colour, label=name, linewidth=1.8)
    # Where all seeds have one value, as at the common start, there is no interval.
    low, high = (
        [point["mean"] if point[key] is None else point[key] for point in points]
        for key in ("low", "high")
    )
    axes.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)


def _ends(axes: Axes, summary: dict[str, Any], colours: Any) -> None:
    split, arms, measure = summary["split"], summary["arms"], summary["measure"]
    for place, ((_, arm), colour) in enumerate(zip(arms.items(), colours, strict=False)):
        end = arm["splits"][split][measure]
        known = end["low"] is not None
        bar = [[end["mean"] - end["low"]], [end["high"] - end["mean"]]] if known else None
        axes.errorbar(end["mean"], place, xerr=bar, fmt="o", color=colour, capsize=3, markersize=6)
    axes.axvline(summary["start"][split][measure], color="0.4", linestyle="--", linewidth=1)
    axes.annotate(
        "start", (summary["start"][split][measure], -0.9), color="0.35", fontsize=8,
        ha="center", annotation_clip=False,
    )  # fmt: skip
    axes.set_yticks(range(len(arms)), list(arms))
    axes.set_ylim(len(arms) - 0.5, -1.2)  # the first arm on top, below the word "start"
    axes.set_xlabel(f"{split}, {LABELS[measure]}, after the last step")
