"""Scores that are too near to tell apart are tied: the tiers of a trained ranker."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from orl_jax.oracles import Ranking


def tiers(scores: Sequence[float], margin: float) -> list[list[int]]:
    """Places in the order of their scores, best first; no tier is wider than the margin.

    A tier begins with the best score that is left, and holds all that are no further below it.
    (Tying neighbours one after the other would tie scores that are far apart.)

    Example: `tiers([0.0, 2.0, 1.9], 0.2) == [[1, 2], [0]]`.
    """
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    found: list[list[int]] = []
    for place in order:
        if found and scores[found[-1][0]] - scores[place] <= margin:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def tier_ranks(scores: Float[np.ndarray, "N G"], margin: float) -> Float[np.ndarray, "N G"]:
    """The ranks of groups by their `tiers`: 0 is the best, ties share their mean rank.

    Example: `tier_ranks(np.array([[0.0, 2.0, 1.9]]), 0.2)` is [[2, 0.5, 0.5]].
    """
    rows = [Ranking.from_order(tiers(row, margin), len(row)).ranks for row in scores.tolist()]
    return np.array(rows, float).reshape(scores.shape)
