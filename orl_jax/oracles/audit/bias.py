"""What an Oracle favours apart from the content: a slot of presentation, long answers."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from orl_jax.oracles.audit.agreement import is_flat
from orl_jax.oracles.audit.asking import Reply
from orl_jax.report.statistics import interval


def position_bias(
    groups: Sequence[Sequence[Reply]], resamples: int, seed: int = 0
) -> dict[str, Any] | None:
    """Whether the rank of an answer depends on the slot in which it is shown.

    An answer's rank in one ask is compared with its mean rank in the other asks about its group, in
    other orders of presentation; with a single ask, with the mean rank (G - 1) / 2. So a slot gets
    no credit for the good answers that happened to be shown in it. Only asks with an order count,
    of the most frequent group size G.

    Args:
      groups: of each group its asks.
      resamples, seed: of the intervals.

    Returns:
      None without such asks, else {"size": G, "n": asks, "mean_ranks": (G - 1) / 2 and the mean
      difference of each slot, intervals over groups [G], "best_shares": how often a slot is ranked
      best, ties shared, [G], "effect": the largest difference of a slot, as a share of (G - 1) / 2,
      "p": of Friedman's test (of the binomial test for G = 2) that the slot does not matter}.

    Example: a judge that ranks answers as they are shown has the effect 1.
    """
    ordered = [[r for r in group if _has_order(r)] for group in groups]
    sizes = Counter(len(reply.slots) for group in ordered for reply in group)
    if not sizes:
        return None
    size = sizes.most_common(1)[0][0]
    ordered = [group for group in ordered if group and len(group[0].slots) == size]
    ranks = np.array([reply.ranking.ranks for group in ordered for reply in group])
    best = ranks == ranks.min(axis=1, keepdims=True)
    middle = (size - 1) / 2
    columns = middle + np.array([_slot_differences(group) for group in ordered]).T
    return {
        "size": size,
        "n": len(ranks),
        "mean_ranks": [
            interval(column, (-middle, 3 * middle), resamples=resamples, seed=seed)
            for column in columns
        ],
        "best_shares": (best / best.sum(axis=1, keepdims=True)).mean(axis=0).tolist(),
        "effect": float(np.abs(columns.mean(axis=1) - middle).max() / middle),
        "p": _p_value(ranks),
    }


def _has_order(reply: Reply) -> bool:
    return reply.ranking.valid and not is_flat(reply.ranking.ranks)


def _slot_differences(group: Sequence[Reply]) -> np.ndarray:
    """Of each slot, rank of the answer there minus its mean rank in the other asks; mean, [G]."""
    ranks = np.array([reply.ranks for reply in group])
    slots = np.array([reply.slots for reply in group])
    count, size = ranks.shape
    if count == 1:
        others, share = ranks.mean(), 1.0
    else:
        others = (ranks.sum(axis=0) - ranks) / (count - 1)
        # No order is asked twice, so the others lean away from this ask's slots, by 1 / (G! - 1).
        share = 1 - 1 / math.factorial(size)
    return share * np.take_along_axis(ranks - others, slots, axis=1).mean(axis=0)


def _p_value(ranks: np.ndarray) -> float:
    if ranks.shape[1] == 2:
        return float(stats.binomtest(int((ranks[:, 0] == 0).sum()), len(ranks)).pvalue)
    return float(stats.friedmanchisquare(*ranks.T).pvalue)


def length_bias(ranks: Sequence[float], lengths: Sequence[int]) -> float:
    """Spearman's rho of goodness with length in one group: 1 = the longer, the better.

    NaN where all ranks or all lengths are the same.

    Example: `length_bias((0, 1, 2), (30, 20, 10)) == 1.0`.
    """
    if is_flat(ranks) or is_flat(lengths):
        return math.nan
    return float(stats.spearmanr(lengths, [-rank for rank in ranks]).statistic)


def by_length(orders: Sequence[tuple[Sequence[float], Sequence[int]]]) -> dict[str, list[float]]:
    """Mean ranks of the shortest answer of a group, the second shortest, ... the longest.

    Args:
      orders: ranks and lengths of groups; those of the most frequent size count. Answers of one
        length share their mean rank.

    Returns:
      {"length": mean length at each place, "rank": mean rank}, both [G]; empty without a group.
    """
    size = Counter(len(ranks) for ranks, _ in orders).most_common(1)
    rows = [_sorted(*order) for order in orders if len(order[0]) == size[0][0]]
    if not rows:
        return {"length": [], "rank": []}
    lengths, ranks = np.mean(rows, axis=0)
    return {"length": lengths.tolist(), "rank": ranks.tolist()}


def _sorted(ranks: Sequence[float], lengths: Sequence[int]) -> tuple[list[float], list[float]]:
    alike: dict[int, list[float]] = defaultdict(list)
    for rank, length in zip(ranks, lengths, strict=True):
        alike[length].append(rank)
    ordered = sorted(lengths)
    return [float(n) for n in ordered], [float(np.mean(alike[n])) for n in ordered]
