"""What the monitors remember of the metrics of a run. No jax and no files here."""

import math
from collections import deque
from collections.abc import Mapping
from statistics import fmean
from typing import Any

NO_SIGNAL = "group/no_signal_fraction"
SIZE = "advantage/abs_mean"
LENGTH = "response/length_mean"
VALID = "oracle/valid_fraction"
DIRECTION = "advantage/oracle_correlation"
PAID_LENGTH = "advantage/length_correlation"
LIKED_LENGTH = "oracle/length_correlation"
CATEGORY = "validation/category/"

AVERAGED = (NO_SIGNAL, SIZE, LENGTH, VALID, PAID_LENGTH, LIKED_LENGTH, "kl", "entropy")
# These are 0 for want of anything to average where the Oracle ranked no group of the step.
NEED_A_RANKING = ("kl", "entropy", "advantage/", "group/", LIKED_LENGTH)


class History:
    """What the checks need of the rows so far.

    Attributes:
      window: logged values of a metric that a mean is taken over.
      row: the numbers of the newest row, without those that say nothing.
      recent: the last `window` values of each averaged metric.
      first: the mean of each over its first window, once that is full.
      before: the first validation accuracy of each task type.
    """

    def __init__(self, window: int):
        self.window = window
        self.row: dict[str, float] = {}
        self.recent: dict[str, deque[float]] = {name: deque(maxlen=window) for name in AVERAGED}
        self.first: dict[str, float] = {}
        self.before: dict[str, float] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Takes in a row; its names may be any."""
        skipped = NEED_A_RANKING if values.get(VALID) == 0 else ()
        # Whatever is not finite counts as infinite: `metrics.jsonl` does not distinguish either.
        self.row = {
            name: float(value) if math.isfinite(value) else math.inf
            for name, value in values.items()
            if not name.startswith(skipped)
        }
        for name, value in self.row.items():
            if name in self.recent:
                self.recent[name].append(value)
                mean = self.mean(name)
                if mean is not None and mean < math.inf:
                    self.first.setdefault(name, mean)
            elif name.startswith(CATEGORY):
                self.before.setdefault(name, value)

    def mean(self, name: str) -> float | None:
        """Over the window; `None` until it is full, infinite once a value isn't finite."""
        values = self.recent[name]
        if math.inf in values:
            return math.inf
        return fmean(values) if len(values) == self.window else None

    def averaged(self, name: str, unit: str = "") -> str:
        """How a message names a mean over the window."""
        return f"{name} ({unit}mean of {self.window} steps)"
