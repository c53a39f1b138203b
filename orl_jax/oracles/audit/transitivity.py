"""Whether a judge that is asked about pairs has a consistent order, and which."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from orl_jax.oracles.audit.asking import Reply

Preferences = Mapping[tuple[int, int], int]  # both (i, j) and (j, i); 1 where the first is better


def preferences(replies: Sequence[Reply]) -> dict[tuple[int, int], int]:
    """Preferences from valid asks about two answers: 1, 0 (tied) or -1, in both directions.

    Example: of slots (3, 1) ranked (0, 1), {(3, 1): 1, (1, 3): -1}.
    """
    found = {}
    for reply in replies:
        if reply.ranking.valid:
            (i, j), (first, second) = reply.slots, reply.ranking.ranks
            sign = int(np.sign(second - first))
            found |= {(i, j): sign, (j, i): -sign}
    return found


def transitive_share(preferred: Preferences) -> float:
    """The share of triples without a cycle; NaN without a triple.

    A cycle is i > j > k > i, or with one tie in it, i > j > k = i. With two ties, i > j = k = i, it
    is not a cycle: near equals may be tied although the ends differ.

    Example: rock, paper, scissors: 0.
    """
    known = sorted({index for pair in preferred for index in pair})
    triples = [
        abs(preferred[i, j] + preferred[j, k] + preferred[k, i]) < 2
        for i, j, k in itertools.combinations(known, 3)
        if {(i, j), (j, k), (k, i)} <= preferred.keys()
    ]
    return float(np.mean(triples)) if triples else math.nan


def listwise_agreement(preferred: Preferences, ranks: Sequence[float]) -> float:
    """Of the pairs that the listwise order tells apart, the share asked with the same result.

    A tie counts half.
    """
    pairs = [(i, j) for i, j in preferred if i < j and ranks[i] != ranks[j]]
    if not pairs:
        return math.nan
    listed = [np.sign(ranks[j] - ranks[i]) for i, j in pairs]
    agreed = [(1 + preferred[p] * sign) / 2 for p, sign in zip(pairs, listed, strict=True)]
    return float(np.mean(agreed))
