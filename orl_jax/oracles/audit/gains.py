"""Does an audit predict what training gains? Agreement before, and accuracy after."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orl_jax.report.tables import markdown
from orl_jax.run.disk import naming
from orl_jax.run.errors import UserError
from orl_jax.run.reading import read_json


class Point(NamedTuple):
    """One Oracle.

    Attributes:
      name: for the reader.
      tau: (mean, low, high) of its audit.
      pairs: share of pairs that it ordered right, in the audit.
      accuracy: greedy, held-out, after training by it.
      gain: of it over the start, in points.
    """

    name: str
    tau: tuple[float, float, float]
    pairs: float
    accuracy: float
    gain: float


def read_point(name: str, audit: str, evaluation: str, start: float) -> Point:
    """An Oracle's point from the files of its audit and of an evaluation.

    Args:
      audit: `audit.json` of scripts/audit_oracle.py.
      evaluation: `results.json` of scripts/evaluate.py.
      start: accuracy before training.

    Raises:
      UserError: a file is missing or lacks a number.
    """
    measures = _number(audit, "measures", "all")
    tau, pairs = measures.get("tau"), measures.get("pair_accuracy")
    accuracy = _number(evaluation, "accuracy")
    if not tau or not pairs or tau["mean"] is None:
        raise UserError(f"{audit} has no tau; an audit without a truth says nothing about gains")
    place = (tau["mean"], tau["low"], tau["high"])
    return Point(name, place, pairs["mean"], accuracy, 100 * (accuracy - start))


def read_start(evaluation: str) -> float:
    """The accuracy of an evaluation."""
    return _number(evaluation, "accuracy")


def gain_table(points: Sequence[Point]) -> str:
    """The points in Markdown, the best agreement first."""
    rows = [
        [
            point.name,
            "{:.2f} [{:.2f}, {:.2f}]".format(*point.tau),
            f"{point.pairs:.2f}",
            f"{100 * point.accuracy:.1f}",
            f"{point.gain:+.1f}",
        ]
        for point in sorted(points, key=lambda point: -point.tau[0])
    ]
    return "\n".join(markdown(["Oracle", "tau-b [95 %]", "pairs right", "accuracy", "gain"], rows))


def draw_gains(points: Sequence[Point], path: str | os.PathLike[str]) -> None:
    """Writes a PNG: gain over tau, one dot per Oracle."""
    figure = Figure(figsize=(6.4, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots()
    for place, point in enumerate(sorted(points, key=lambda point: point.tau[0])):
        _dot(axes, point, above=bool(place % 2))  # names of near ones keep apart
    axes.axhline(0, color="0.4", linestyle="--", linewidth=1)
    axes.set(
        xlabel="tau-b with the truth, in the audit",
        ylabel="held-out accuracy gained, points",
    )
    axes.margins(x=0.2, y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    with naming(path):
        figure.savefig(path)


def _dot(axes: Axes, point: Point, above: bool) -> None:
    mean, low, high = point.tau
    axes.errorbar(mean, point.gain, xerr=[[mean - low], [high - mean]], fmt="o", capsize=3)
    axes.annotate(
        point.name,
        (mean, point.gain),
        xytext=(6, 7 if above else -14),
        textcoords="offset points",
        fontsize=9,
    )


def _number(path: str, *keys: str) -> Any:
    found: Any = read_json(path, "give a file that the script wrote")
    try:
        for key in keys:
            found = found[key]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} has no {'.'.join(keys)}") from error
    if not isinstance(found, Mapping | float | int):
        raise UserError(f"{path}: {'.'.join(keys)} is {found!r:.40}, which is no number")
    return found
