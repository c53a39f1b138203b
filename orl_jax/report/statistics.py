"""Means over groups with their 95 % bootstrap intervals."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

Interval = dict[str, float | int | None]
_BATCH = 100  # resamples at a time: bounded memory for many groups


def interval(values: Sequence[float], resamples: int, seed: int = 0) -> Interval:
    """The mean of the values that are numbers, and its percentile bootstrap interval (Efron 1979).

    Args:
      values: one a group; NaN where it has none.
      resamples: of the groups, with replacement.

    Returns:
      {"mean", "low", "high", "n"}; all but n are None where no value is a number. One value alone
      has no width.

    Example: `interval([0.0, 1.0, nan], 2000)` has the mean 0.5 and n = 2.
    """
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return {"mean": None, "low": None, "high": None, "n": 0}
    mean = low = high = float(known.mean())
    if len(known) > 1:
        low, high = stats.bootstrap(
            (known,), np.mean, n_resamples=resamples, batch=_BATCH, method="percentile", rng=seed
        ).confidence_interval
    return {"mean": mean, "low": float(low), "high": float(high), "n": len(known)}
