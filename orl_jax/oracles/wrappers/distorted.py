"""A wrapper that keeps an Oracle's order and distorts its scale: an uncalibrated reward."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from orl_jax.oracles.protocol import Oracle, RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.wrappers.wrapper import generator, rerank

MAX_STRENGTH = 10.0  # much beyond it the scores leave float32


@dataclasses.dataclass(frozen=True)
class DistortedOracle:
    """The same order, with scores on a scale that differs from prompt to prompt.

    The levels of a group (its distinct scores) become, in ascending order,

        level_0 = offset                 level_{i+1} = level_i + gap_i
        offset = strength * Normal(0, 1)           gap_i = scale * exp(strength * Normal(0, 1))
        scale = exp(strength * Normal(0, 1))       one offset and one scale per prompt

    drawn only from `seed` and the prompt id, so that a prompt keeps its scale whatever the answers.
    The ranks never change, so learning from ranks is unaffected. A z-score within the group removes
    the offset and the scale, but not the gaps, which should say how much better one level is than
    the next, and here are random.

    Args:
      inner: the Oracle whose order is kept; its scores are not needed. Invalid rankings stay
        invalid.
      strength: of the distortion, in [0, 10]; at 0 the scores are 0, 1, 2 ... from the worst level.
      seed: of the draws.

    Raises:
      ValueError: the strength is outside [0, 10].

    Example: where `inner` scores a group (0.9, 0.0, 0.9, 0.2), `DistortedOracle(inner, 0.0)` scores
    it (2.0, 0.0, 2.0, 1.0).
    """

    inner: Oracle
    strength: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        number = isinstance(self.strength, int | float)
        if not number or not 0 <= self.strength <= MAX_STRENGTH:
            raise ValueError(
                f"strength is {self.strength!r}; it must lie in [0, {MAX_STRENGTH:.0f}]"
            )

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """The inner Oracle's rankings, with distorted scores."""
        return rerank(self.inner, requests, self._distort)

    def _distort(self, ranking: Ranking, request: RankRequest) -> Ranking:
        tiers = ranking.tiers
        levels = self._levels(request.prompt_id, len(ranking.ranks))[: len(tiers)]
        level_of = {i: x for tier, x in zip(tiers[::-1], levels, strict=True) for i in tier}
        scores = tuple(level_of[index] for index in range(len(ranking.ranks)))
        return dataclasses.replace(ranking, scores=scores)

    def _levels(self, prompt_id: str, count: int) -> list[float]:
        """`count` levels, strictly ascending; a smaller count gives the first of them."""
        draws = self.strength * generator(self.seed, prompt_id).normal(size=1 + count)
        offset, scale, *gaps = draws.tolist()
        steps = [math.exp(scale + gap) for gap in gaps]
        return list(itertools.accumulate(steps, _above, initial=offset))


def _above(level: float, step: float) -> float:
    """The level plus the step; above the level even if the step is rounded away."""
    return max(level + step, math.nextafter(level, math.inf))
