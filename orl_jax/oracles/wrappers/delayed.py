"""A wrapper that is slow, like a remote judge, to measure the cost of waiting."""

import dataclasses
import math
import time
from collections.abc import Sequence

from orl_jax.oracles.protocol import Oracle, RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run import stop


@dataclasses.dataclass(frozen=True)
class DelayedOracle:
    """Answers as the inner Oracle does, but each call takes at least some seconds.

    Args:
      inner: the Oracle that knows the order.
      seconds: per call, however many groups it ranks.

    Raises:
      ValueError: seconds is negative or not finite.

    Example: `DelayedOracle(ReferenceOracle(), 2.0).rank(requests)` returns after 2 seconds.
    """

    inner: Oracle
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds!r}; it must be at least 0")

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """The inner Oracle's rankings."""
        end = time.monotonic() + self.seconds
        rankings = list(self.inner.rank(requests))
        stop.sleep(max(end - time.monotonic(), 0))
        return rankings
