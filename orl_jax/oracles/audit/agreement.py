"""How far an order agrees with the truth, and an Oracle with itself.

Ranks are float [G], 0 the best, ties sharing their mean rank. NaN means: not defined here.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b: 1 the same order, -1 the reverse; a tie on one side lowers it.

    NaN where either ties all.

    Example: `tau((0, 1, 2), (0, 1.5, 1.5))` is 2 / sqrt(3 · 2) = 0.816.
    """
    if is_flat(first) or is_flat(second):
        return math.nan
    return float(stats.kendalltau(first, second, variant="b").statistic)


def pair_accuracy(truth: Sequence[float], said: Sequence[float]) -> float:
    """Of the pairs that the truth tells apart, the share in the same order; a tie is half right.

    Example: `pair_accuracy((0, 1, 2), (0, 1.5, 1.5))` is (1 + 1 + 1/2) / 3.
    """
    true, found = pair_signs(truth), pair_signs(said)
    apart = true != 0
    return float(((1 + true * found)[apart] / 2).mean()) if apart.any() else math.nan


def pair_signs(ranks: Sequence[float]) -> np.ndarray:
    """Of every pair i < j the sign of rank j - rank i: 1 where i is better. int [G (G - 1) / 2]."""
    array = np.asarray(ranks, float)
    rows, columns = np.triu_indices(len(array), 1)
    return np.sign(array[columns] - array[rows]).astype(int)


def top1(truth: Sequence[float], said: Sequence[float]) -> float:
    """How likely the best by `said` is among the true best; of several one is drawn.

    Example: `top1((0, 1, 2), (0.5, 0.5, 2))` is 1/2.
    """
    return float(_best(truth)[_best(said)].mean())


def chance(truth: Sequence[float]) -> float:
    """`top1` of an answer drawn at random."""
    return float(_best(truth).mean())


def self_tau(orders: Sequence[np.ndarray]) -> float:
    """Mean tau of all pairs of orders of the same answers; NaN with fewer than two.

    Equal ranks give 1, also where all are tied; an order against a complete tie gives 0.
    """
    found = [_self_tau(a, b) for a, b in itertools.combinations(orders, 2)]
    return float(np.mean(found)) if found else math.nan


def self_top1(orders: Sequence[np.ndarray]) -> float:
    """Mean `top1` of all pairs of orders, both ways round; NaN with fewer than two."""
    found = [top1(a, b) for a, b in itertools.permutations(orders, 2)]
    return float(np.mean(found)) if found else math.nan


def is_flat(ranks: Sequence[float]) -> bool:
    """Whether all are tied."""
    return len(set(ranks)) < 2


def mean_of(values: Sequence[float]) -> float:
    """The mean of those that are numbers; NaN where none is."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _self_tau(first: np.ndarray, second: np.ndarray) -> float:
    if np.array_equal(first, second):
        return 1.0
    value = tau(first, second)
    return 0.0 if math.isnan(value) else value


def _best(ranks: Sequence[float]) -> np.ndarray:
    array = np.asarray(ranks, float)
    return array == array.min()
