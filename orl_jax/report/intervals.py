"""Confidence intervals of shares, so that a small cell of a table is not read as a large one."""

import math

from orl_jax.report.wording import Number

Z95 = 1.959963984540054
SMALL = 100  # items; below this a cell is marked


def wilson(share: Number, n: int, z: Number = Z95) -> tuple[Number, Number]:
    """Wilson's score interval of a share observed on n items (Wilson 1927), in [0, 1].

    Example: `wilson(0.5, 100)` gives (0.404, 0.596).
    """
    if n <= 0:
        return 0.0, 1.0
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    spread = share * (1 - share) / n + z * z / (4 * n * n)
    half = z * math.sqrt(spread) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def difference(before: Number, after: Number, n: int, z: Number = Z95) -> tuple[Number, Number]:
    """Newcombe's hybrid interval of `after - before`, both on n items (Newcombe 1998, method 10).

    It takes the two as independent, which is on the wide side where both are of the same items.

    Example: `difference(0.5, 0.7, 100)` gives (0.064, 0.325).
    """
    low_before, high_before = wilson(before, n, z)
    low_after, high_after = wilson(after, n, z)
    change = after - before
    low = change - math.hypot(after - low_after, high_before - before)
    high = change + math.hypot(high_after - after, before - low_before)
    return low, high
