"""Every confidence interval and test that a page or a table shows; all intervals are 95 %.

The method follows from the numbers:

right or wrong (0 or 1)   Wilson's for a share, Newcombe's for a difference on the same items
other numbers             percentile bootstrap of the mean over items
all the same              resampling shows no width; see `interval`

scipy.stats is imported where it is called: it takes as long as jax, and training needs none of it.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

SMALL = 100  # items; a cell with fewer is marked
RESAMPLES = 2000
Interval = dict[str, float | int | None]
Limits = tuple[float, float]
_ROUNDING = 1e-9  # values that differ by less are the same: a tau of 0.9999999999999998 is 1
_Z = NormalDist().inv_cdf(0.975)
_BATCH = 100  # resamples at a time: bounded memory for many items


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share observed on n items (Wilson 1927), in [0, 1].

    Example: `wilson(0.5, 100)` gives (0.404, 0.596).
    """
    if n <= 0:
        return 0.0, 1.0
    right = round(share * n)
    middle = right + _Z**2 / 2
    half = _Z * math.sqrt(right * (n - right) / n + _Z**2 / 4)
    low = (middle - half) / (n + _Z**2) if right else 0.0
    return low, (middle + half) / (n + _Z**2) if right < n else 1.0


def newcombe(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """Interval of the first share minus the second, both on the same items.

    Method 10 of Newcombe 1998, "Improved confidence intervals for the difference between binomial
    proportions based on paired data": the two Wilson intervals, combined by their correlation.

    Args:
      both, only_first, only_second, neither: items that both, one only, or neither has right.

    Returns:
      (low, high) in [-1, 1]; (-1, 1) without an item.

    Example: `newcombe(36, 12, 2, 0)` gives (0.057, 0.340) around the difference 0.2.
    """
    n = both + only_first + only_second + neither
    if n == 0:
        return -1.0, 1.0
    first, second = (both + only_first) / n, (both + only_second) / n
    (low_1, high_1), (low_2, high_2) = wilson(first, n), wilson(second, n)
    phi = _correlation(both, only_first, only_second, neither)
    below = _distance(first - low_1, high_2 - second, phi)
    above = _distance(high_1 - first, second - low_2, phi)
    return first - second - below, first - second + above


def _distance(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi of the two-by-two table, with Newcombe's continuity correction where it is positive."""
    n = both + only_first + only_second + neither
    product = both * neither - only_first * only_second
    if product > 0:
        product = max(product - n / 2, 0)
    margins = (both + only_first) * (only_second + neither)
    margins *= (both + only_second) * (only_first + neither)
    return product / math.sqrt(margins) if margins else 0.0


def interval(
    values: Sequence[float],
    limits: Limits | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean of the values that are numbers, and its interval.

    Shares (limits 0 and 1, and every value one of them) have Wilson's interval, other values the
    percentile bootstrap's (Efron 1979), which is too narrow for fewer than about five values.
    Where all values are the same, resampling shows no width. Then other values may be as
    frequent as Wilson's upper limit of 0 in n, and as far away as `limits`: that is the interval.
    Without limits there is none.

    Args:
      values: one per item; NaN where it has none.
      limits: the smallest and the largest value that is possible.
      resamples: of the items, with replacement.

    Returns:
      {"mean", "low", "high", "n"}; low and high are None where there is no interval, and the mean
      too where no value is a number.

    Example: `interval([0.0, 1.0, nan])` has the mean 0.5, from 0 to 1, and n = 2.
    """
    known = np.array([value for value in values if not math.isnan(value)], np.float64)
    if not len(known):
        return {"mean": None, "low": None, "high": None, "n": 0}
    mean = float(known.mean())
    if limits == (0, 1) and is_share(known):
        low, high = wilson(mean, len(known))
    elif np.ptp(known) > _ROUNDING:
        low, high = _bootstrap(known, resamples, seed)
    else:
        low, high = _alike(mean, len(known), limits)
    return {"mean": mean, "low": low, "high": high, "n": len(known)}


def _bootstrap(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    from scipy import stats

    low, high = stats.bootstrap(
        (values,), np.mean, n_resamples=resamples, batch=_BATCH, method="percentile", rng=seed
    ).confidence_interval
    return float(low), float(high)


def _alike(value: float, n: int, limits: Limits | None) -> tuple[float | None, float | None]:
    if limits is None:
        return None, None
    others = wilson(0.0, n)[1]
    return value + others * (limits[0] - value), value + others * (limits[1] - value)


def is_share(values: Sequence[float]) -> bool:
    """Whether all numbers are 0 or 1, so that their mean is a share.

    Example: `is_share([1.0, 0.0, nan])`.
    """
    return all(value in (0, 1) for value in values if not math.isnan(value))


def mcnemar(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """McNemar's exact test (1947) of right (1) and wrong (0) answers to the same items.

    Returns:
      {"only_first", "only_second", "p"}: items that only one has right, and the two-sided binomial
      probability of a split so uneven if both were equally good; 1 without any.

    Example: `mcnemar([1, 1, 1, 0], [0, 0, 0, 0])["p"] == 0.25`.
    """
    _, only_first, only_second, _ = _table(first, second)
    from scipy import stats

    n = only_first + only_second
    p = stats.binomtest(only_first, n, 0.5).pvalue if n else 1.0
    return {"only_first": only_first, "only_second": only_second, "p": float(p)}


def compare(
    first: Sequence[float],
    second: Sequence[float],
    limits: Limits | None = (0.0, 1.0),
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The mean of `first - second` with its interval over the same items, and McNemar's test.

    Items without a number in either are left out; n is how many are left. Answers that are right
    or wrong have Newcombe's interval and the test, other numbers `interval`'s and no test (None).

    Args:
      first, second: one number per item, in the same order.
      limits: the smallest and the largest number that is possible.

    Returns:
      {"difference": as `interval`, "mcnemar": as `mcnemar`, or None}.

    Example: `compare([1, 1, 0], [0, 1, 0])["difference"]["mean"] == 1 / 3`.
    """
    pairs = [
        (a, b) for a, b in zip(first, second, strict=True) if not (math.isnan(a) or math.isnan(b))
    ]
    ones, others = [a for a, _ in pairs], [b for _, b in pairs]
    if not pairs or not is_share(ones + others):
        reach = None if limits is None else (limits[0] - limits[1], limits[1] - limits[0])
        differences = [a - b for a, b in pairs]
        return {"difference": interval(differences, reach, resamples=resamples), "mcnemar": None}
    low, high = newcombe(*_table(ones, others))
    mean = (sum(ones) - sum(others)) / len(pairs)
    difference = {"mean": mean, "low": low, "high": high, "n": len(pairs)}
    return {"difference": difference, "mcnemar": mcnemar(ones, others)}


def _table(first: Sequence[float], second: Sequence[float]) -> tuple[int, int, int, int]:
    """How many items both, only the first, only the second and neither has right."""
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    cells = ((True, True), (True, False), (False, True), (False, False))
    return tuple(pairs.count(cell) for cell in cells)
