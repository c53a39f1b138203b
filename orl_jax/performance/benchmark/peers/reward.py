"""The reward that every side of a comparison uses."""

from collections.abc import Iterable


def reward(ids: Iterable[int]) -> float:
    """A reward that depends only on an answer's ids and costs almost no time.

    Example: `reward([3, 5])` is 1.
    """
    return float(sum(ids) % 7)
