"""A part of some things that has each kind of them in proportion, drawn by a seed."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np


def spread(strata: Sequence[Hashable], count: int, seed: int) -> list[int]:
    """Places of at most `count` things, of each kind its share; ascending.

    The j-th of a kind's n shuffled members gets the mark (j + 1/2) / n; the lowest marks win. So a
    smaller count with the same seed is a part of a larger one.

    Args:
      strata: the kind of each thing.
      count: how many; 0 is all.
      seed: of the shuffling.

    Example: `spread("aaab" * 10, 8, seed=0)` has 6 places of "a" and 2 of "b".
    """
    if not count or count >= len(strata):
        return list(range(len(strata)))
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, kind in enumerate(strata):
        members[kind].append(place)
    marks = []
    for places in members.values():
        order = rng.permutation(places)
        marks += [((j + 0.5) / len(order), int(place)) for j, place in enumerate(order)]
    return sorted(place for _, place in sorted(marks)[:count])
