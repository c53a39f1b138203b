"""Means of measures over items and over groups of items, with their 95 % intervals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orl_jax.evaluation.scoring.predictions import Item
from orl_jax.evaluation.scoring.verdict import BEST
from orl_jax.report.statistics import SMALL, Limits, interval

Measures = Mapping[str, Sequence[float]]  # one number per item; NaN where it has none
_SCORES = frozenset(
    ("score", "judge_score", "correctness", "detail", "context", "temporal", "consistency")
)


def is_score(measure: str) -> bool:
    """Whether a measure is a judge's score from 0 to 5; all others are shares.

    Example: `is_score("correctness")`.
    """
    return measure in _SCORES


def limits(measure: str) -> Limits:
    """The smallest and the largest number that an item can have.

    Example: `limits("exact") == (0.0, 1.0)`.
    """
    return (0.0, float(BEST)) if is_score(measure) else (0.0, 1.0)


def cell(measures: Measures, places: Sequence[int] | None = None) -> dict[str, Any]:
    """`n`, `small`, and of each measure {"mean", "low", "high", "n"} over the items at `places`.

    `n` is the number of items; a measure's own is smaller where some have no number. Below 100
    numbers of any measure a cell is small: read it as a hint.

    Example: `cell({"exact": [1.0, 0.0]})["exact"]["mean"] == 0.5`.
    """
    size = len(next(iter(measures.values())))
    places = range(size) if places is None else places
    found = {
        name: interval([values[place] for place in places], limits(name))
        for name, values in measures.items()
    }
    fewest = min(each["n"] for each in found.values())
    return {"n": len(places), "small": fewest < SMALL, **found}


def by(items: Sequence[Item], name: Callable[[Item], str], measures: Measures) -> dict[str, Any]:
    """A cell for each name of items, in alphabetical order; without those whose name is "".

    Example: `by(items, task_type, measures)["Counting Problem"]["n"]`.
    """
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        if of := name(item):
            places.setdefault(of, []).append(place)
    return {of: cell(measures, places[of]) for of in sorted(places)}
