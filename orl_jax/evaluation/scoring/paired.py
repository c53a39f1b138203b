"""Two files of predictions on the same items: who is better, and could it be chance?"""

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import binomtest

from orl_jax.evaluation.scoring.cells import RESAMPLES, is_share
from orl_jax.evaluation.scoring.predictions import Item
from orl_jax.report.statistics import interval
from orl_jax.run.errors import UserError


def mcnemar(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """McNemar's exact test (1947) of right (1) and wrong (0) answers to the same items.

    Returns:
      {"only_first", "only_second", "p"}: items that one alone has right, and the two-sided
      binomial probability of a split so uneven if both were equally good; 1 without any.

    Example: `mcnemar([1, 1, 1, 0], [0, 0, 0, 0])["p"] == 0.25`.
    """
    pairs = list(zip(first, second, strict=True))
    only_first = sum(a > b for a, b in pairs)
    only_second = sum(b > a for a, b in pairs)
    n = only_first + only_second
    p = binomtest(only_first, n, 0.5).pvalue if n else 1.0
    return {"only_first": only_first, "only_second": only_second, "p": float(p)}


def compare(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """The mean of `first - second` with its bootstrap interval over items, and McNemar's test.

    Items without a number in either are left out; n is how many are left. The test is of answers
    that are right or wrong: without it (None) for other numbers.

    Example: `compare([1, 1, 0], [0, 1, 0])["difference"]["mean"] == 1 / 3`.
    """
    pairs = [
        (a, b) for a, b in zip(first, second, strict=True) if not (math.isnan(a) or math.isnan(b))
    ]
    ones, others = [a for a, _ in pairs], [b for _, b in pairs]
    return {
        "difference": interval([a - b for a, b in pairs], RESAMPLES),
        "mcnemar": mcnemar(ones, others) if is_share(ones + others) else None,
    }


def shared(
    first: Sequence[Item],
    second: Sequence[Item],
    names: tuple[str, str] = ("--predictions", "--against"),
) -> list[tuple[int, int]]:
    """Places of the items that both files have, by `item_id`, in the order of the first.

    Args:
      first, second: items.
      names: of the two in messages.

    Raises:
      UserError: none is shared, or one has another question or reference in the second file.

    Example: `shared([{"item_id": "a"}], [{"item_id": "b"}, {"item_id": "a"}]) == [(0, 1)]`.
    """
    places = {item["item_id"]: place for place, item in enumerate(second)}
    pairs = [
        (place, places[item["item_id"]])
        for place, item in enumerate(first)
        if item["item_id"] in places
    ]
    if not pairs:
        raise UserError(
            f"{names[1]} shares no item_id with {names[0]} (here {first[0]['item_id']!r}, "
            f"there {second[0]['item_id']!r}); give two files of the same split"
        )
    for one, other in pairs:
        for name in ("question", "reference"):
            if first[one].get(name) != second[other].get(name):
                raise UserError(
                    f"item {first[one]['item_id']!r} has another {name} in {names[1]}: "
                    f"{second[other].get(name)!r:.60}; give two files of the same data"
                )
    return pairs
