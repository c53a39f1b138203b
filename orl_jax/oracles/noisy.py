"""A wrapper that spoils another Oracle's answers, to see how much error the training bears."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from orl_jax.oracles.protocol import Oracle, RankRequest
from orl_jax.oracles.ranking import Ranking


@dataclasses.dataclass(frozen=True)
class NoisyOracle:
    """Exchanges ranks at random and withholds rankings at random.

    The noise of a request depends on `seed`, its prompt id and its responses alone: neither on the
    batch that it comes in nor on earlier calls. So a resumed run meets the same answers.

    Args:
      inner: the Oracle whose rankings are spoilt; what it says is invalid stays so.
      swap_probability: of every response, taken in random order, the probability that it exchanges
        ranks with one drawn from itself and those not yet taken (a Fisher-Yates step). 0 leaves the
        order as it is, 1 makes it uniformly random; the shape of the ties stays.
      invalid_probability: of a ranking, to be withheld.
      seed: of the noise.

    Raises:
      ValueError: a probability outside [0, 1].

    Example: `NoisyOracle(ReferenceOracle(), swap_probability=0.2, seed=1).rank(requests)`.
    """

    inner: Oracle
    swap_probability: float = 0.0
    invalid_probability: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("swap_probability", "invalid_probability"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ValueError(f"{name} is {value!r}; it must lie in [0, 1]")

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """The inner Oracle's rankings, spoilt."""
        rankings = self.inner.rank(requests)
        return [self._spoil(k, r) for k, r in zip(rankings, requests, strict=True)]

    def _spoil(self, ranking: Ranking, request: RankRequest) -> Ranking:
        rng = self._generator(request)
        if not ranking.valid:
            return ranking
        if rng.random() < self.invalid_probability:
            return dataclasses.replace(
                Ranking.invalid("withheld by the noisy Oracle", request.size, raw=ranking.raw),
                seconds=ranking.seconds,
            )
        ranks = list(ranking.ranks)
        order = rng.permutation(len(ranks))
        for step, here in enumerate(order):
            if rng.random() < self.swap_probability:
                there = order[rng.integers(step, len(ranks))]
                ranks[here], ranks[there] = ranks[there], ranks[here]
        return dataclasses.replace(ranking, ranks=tuple(ranks))

    def _generator(self, request: RankRequest) -> np.random.Generator:
        key = json.dumps([self.seed, request.prompt_id, *request.responses])  # unambiguous bytes
        return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()))
