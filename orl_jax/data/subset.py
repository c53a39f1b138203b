"""A random sample that keeps the proportions of its strata."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np


def spread(strata: Sequence[Hashable], count: int, seed: int) -> list[int]:
    """Indices of a stratified sample of at most `count` things, ascending.

    The j-th of a stratum's n shuffled members gets the mark (j + 1/2) / n; the lowest marks win. So
    with the same seed a smaller sample is a subset of a larger one.

    Args:
      strata: the stratum of each thing.
      count: how many; 0 for all.
      seed: of the shuffling.

    Example: `spread("aaab" * 10, 8, seed=0)` has 6 indices of "a" and 2 of "b".
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
