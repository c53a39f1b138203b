"""What every side of a comparison gives an answer."""

from collections.abc import Iterable


def reward(ids: Iterable[int]) -> float:
    """Of an answer, from its ids alone, in no time.

    Example: `reward([3, 5])` is 1.
    """
    return float(sum(ids) % 7)
