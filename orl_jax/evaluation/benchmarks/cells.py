"""The numbers of a table: means by group of items, differences from the baseline, tests.

Means are over all items that a model has, differences over those that it shares with the baseline.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from orl_jax.evaluation.benchmarks.measures import Scored
from orl_jax.evaluation.scoring.cells import limits
from orl_jax.evaluation.scoring.paired import shared
from orl_jax.evaluation.scoring.predictions import Item
from orl_jax.report.statistics import SMALL, compare, interval

P_LEVEL = 0.05
Row = dict[str, Any]
Pairs = Mapping[str, Sequence[tuple[int, int]]]  # model -> places there and in the baseline


def pair_up(scored: Mapping[str, Scored], baseline: str, title: str) -> dict[str, Any]:
    """Places of the items that each other model shares with the baseline.

    Args:
      scored: by model; with the baseline.
      title: of the benchmark, for messages.

    Raises:
      UserError: a model shares no item with it, or one has another question or reference.
    """
    base = scored[baseline].evaluation
    return {
        model: shared(
            each.evaluation.items,
            base.items,
            (f"{model} on {title}", f"{baseline} ({base.path})"),
        )
        for model, each in scored.items()
        if model != baseline
    }


def rows(
    scored: Mapping[str, Scored],
    baseline: str | None,
    pairs: Pairs,
    measures: Sequence[str],
    group: Callable[[Item], str],
) -> Iterator[Row]:
    """A row for each name that `group` gives to items, in alphabetical order; not for "".

    Example: `list(rows(scored, "SFT", pairs, ["official"], task_type))[0]["name"]`.
    """
    names = {group(item) for each in scored.values() for item in each.evaluation.items}
    for name in sorted(names - {""}):
        yield row(
            name, scored, baseline, pairs, measures, lambda item, name=name: group(item) == name
        )


def row(
    name: str,
    scored: Mapping[str, Scored],
    baseline: str | None,
    pairs: Pairs,
    measures: Sequence[str],
    belongs: Callable[[Item], bool] = lambda item: True,
) -> Row:
    """The numbers of the items that belong to it.

    Args:
      name: of the row.
      scored: by model.
      baseline: a name of `scored`, or None: then there are no differences.
      pairs: of `pair_up`.
      measures: the first is the headline; models may lack others.
      belongs: whether an item counts.

    Returns:
      {"name", "n": items of any model, "small": whether a model has fewer than 100 numbers,
      "models": {model: {measure: interval}}, "differences": {model: {measure: as
      `statistics.compare`, "excludes_0": whether the interval of the difference
      does, and p is below 0.05}}}.

    Example: `row("all", scored, "SFT", pairs, ["official"])["models"]["RL"]["official"]["mean"]`.
    """
    places = {
        model: [place for place, item in enumerate(each.evaluation.items) if belongs(item)]
        for model, each in scored.items()
    }
    ids = {scored[m].evaluation.items[p]["item_id"] for m, there in places.items() for p in there}
    models = {
        model: {
            name: interval([each.measures[name][place] for place in places[model]], limits(name))
            for name in measures
            if name in each.measures
        }
        for model, each in scored.items()
    }
    inside = {model: set(there) for model, there in places.items()}
    differences = {
        model: _differences(
            scored[model], scored[baseline], [p for p in both if p[0] in inside[model]], measures
        )
        for model, both in pairs.items()
        if baseline is not None
    }
    small = min(found[measures[0]]["n"] for found in models.values()) < SMALL
    return {
        "name": name, "n": len(ids), "small": small, "models": models, "differences": differences,
    }  # fmt: skip


def _differences(
    model: Scored, baseline: Scored, pairs: Sequence[tuple[int, int]], measures: Sequence[str]
) -> dict[str, Any]:
    found = {}
    for name in measures:
        if name in model.measures and name in baseline.measures:
            ours = [model.measures[name][place] for place, _ in pairs]
            theirs = [baseline.measures[name][place] for _, place in pairs]
            said = compare(ours, theirs, limits(name))
            found[name] = {**said, "excludes_0": _excludes_0(**said)}
    return found


def _excludes_0(difference: Mapping[str, Any], mcnemar: Mapping[str, Any] | None) -> bool:
    """By the interval and by the exact test, which is stricter for a few items."""
    if difference["mean"] is None or (mcnemar and mcnemar["p"] >= P_LEVEL):
        return False
    return difference["low"] > 0 or difference["high"] < 0
