"""Penalties and advantages over training, from the completions table (`rollouts/STEP.jsonl`)."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from orl_jax.report.bars import Histogram, histograms
from orl_jax.report.canvas import WIDE
from orl_jax.report.curves import Figure
from orl_jax.report.figures import Curve, lines, signed_line
from orl_jax.report.record import Json, Record, series
from orl_jax.report.wording import Number

_PERIODS = ("early", "middle", "late")
_SHARE = 10  # a period is a tenth of the steps


@dataclasses.dataclass(frozen=True)
class Period:
    """Groups of some neighbouring steps."""

    name: str
    steps: Sequence[int]
    groups: Sequence[Json]

    @property
    def title(self) -> str:
        """For example `early: steps 1-6`."""
        first, last = self.steps[0], self.steps[-1]
        return f"{self.name}: step{'' if first == last else 's'} {first}" + (
            "" if first == last else f"\N{EN DASH}{last}"
        )


@dataclasses.dataclass(frozen=True)
class Distributions:
    """What the section shows; `alignment` is per period (title, correlation or None)."""

    figures: Sequence[Figure]
    alignment: Sequence[tuple[str, Number | None]]
    responses: int


def distributions(record: Record) -> Distributions | None:
    """Figures of penalty, advantage, their alignment with the Oracle; None without rollouts."""
    periods = periods_of(record.rollouts)
    if not periods:
        return None
    figures = [
        _histogram("Advantage", "advantages", periods, signed=True),
        _histogram("Penalty", "penalties", periods, signed=False),
        _alignment_figure(record.rollouts),
        _magnitude_figure(record),
    ]
    return Distributions(
        figures=[figure for figure in figures if figure],
        alignment=[(period.title, alignment(period.groups)) for period in periods],
        responses=sum(len(group.get("responses", ())) for p in periods for group in p.groups),
    )


def periods_of(rollouts: Mapping[int, Sequence[Json]]) -> list[Period]:
    """The first, middle and last tenth of the steps (at least one each), groups with a ranking.

    Fewer than three steps give as many periods as there are steps.
    """
    steps = sorted(rollouts)
    width = max(1, len(steps) // _SHARE)
    starts = (0, (len(steps) - width) // 2, len(steps) - width)
    chosen = {
        name: steps[start : start + width]
        for name, start in zip(_PERIODS, starts, strict=True)
        if start >= 0
    }
    if len(steps) < len(_PERIODS):
        chosen = dict(zip(("early", "late"), ([step] for step in steps), strict=False))
    found = [
        Period(name, own, _valid(g for s in own for g in rollouts[s]))
        for name, own in chosen.items()
    ]
    return [period for period in found if period.groups]


def alignment(groups: Iterable[Json]) -> Number | None:
    """Correlation between advantage and the Oracle's order within groups, in [-1, 1].

    Pearson's r of A_i and -(r_i - mean_j r_j), pooled over groups. Positive: the update raises what
    the Oracle ranks high. Negative: it pushes the wrong way, as the printed form of GRPO_rank does.
    None where the Oracle tied every group or all advantages are zero.
    """
    valid = _valid(groups)
    a = np.concatenate([_centred(group["advantages"]) for group in valid] or [np.zeros(0)])
    r = np.concatenate([-_centred(group["oracle_ranks"]) for group in valid] or [np.zeros(0)])
    scale = float(np.sqrt((a * a).sum() * (r * r).sum()))
    return float((a * r).sum()) / scale if scale > 0 else None


def _valid(groups: Iterable[Json]) -> list[Json]:
    needed = ("advantages", "oracle_ranks", "responses")
    return [g for g in groups if g.get("valid", True) and all(g.get(key) for key in needed)]


def _centred(values: Sequence[Number]) -> np.ndarray:
    array = np.nan_to_num(np.asarray(values, float))
    return array - array.mean()


def _histogram(title: str, key: str, periods: Sequence[Period], signed: bool) -> Figure | None:
    shown = []
    for period in periods:
        values = [float(value) for group in period.groups for value in group.get(key) or ()]
        zeros = sum(value == 0 for value in values) / max(len(values), 1)
        shown.append(Histogram(period.title, values, f"{100 * zeros:.0f} % exactly 0, not drawn"))
    if not any(histogram.values for histogram in shown):
        return None
    name = f"{title} of a response"
    svg = histograms(shown, x_label=f"{title.lower()} of a response", name=name, signed=signed)
    return Figure(title, svg, "Share of all responses of those steps. Collapse is everything at 0.")


def _alignment_figure(rollouts: Mapping[int, Sequence[Json]]) -> Figure | None:
    found = {step: alignment(groups) for step, groups in sorted(rollouts.items())}
    found = {step: value for step, value in found.items() if value is not None}
    if not found:
        return None
    svg = signed_line(
        Curve("r", list(found), list(found.values())),
        x_label="RL step",
        y_label="Pearson r in the group, pooled",
        above="towards the Oracle's order",
        below="away from the Oracle's order",
        name="Correlation of advantage and the Oracle's order over steps",
    )
    return Figure("Does the update push the right way?", svg,
                  "Correlation of a response's advantage with the Oracle's order.")  # fmt: skip


def _magnitude_figure(record: Record) -> Figure | None:
    steps, values = series(record.metrics, "rl", "advantage/abs_mean")
    if not steps:
        return None
    svg = lines(
        [Curve("mean", steps, values)],
        x_label="RL step",
        y_label="mean absolute advantage",
        width=WIDE,
        name="Mean absolute advantage over steps",
    )
    return Figure("Size of the advantage", svg, "Near zero: collapse. Growing: explosion.")
