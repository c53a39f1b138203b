"""A wrapper that adds random errors, to test robustness."""

import dataclasses
from collections.abc import Sequence

from orl_jax.oracles.protocol import Oracle, RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.wrappers.wrapper import generator, rerank


@dataclasses.dataclass(frozen=True)
class NoisyOracle:
    """Swaps ranks and withholds rankings at random.

    The noise of a request depends only on `seed`, its prompt id and its responses, not on the batch
    or on earlier calls, so that a resumed run sees the same rankings. Scores, if any, are swapped
    with the ranks.

    Of the pairs of a group of 5 without ties, the expected share that is inverted is
    (2934 p - 1466 p^2 + 370 p^3 - 38 p^4) / 3600, p = `swap_probability` (by enumeration):

      p         0.131  0.2   0.283  0.463  0.6   1.0
      inverted  10 %   15 %  20 %   30 %   36 %  50 %

    Args:
      inner: the Oracle whose rankings get noise; invalid ones stay invalid.
      swap_probability: the probability that a response, taken in random order, swaps ranks with
        one drawn from itself and those not yet taken (a Fisher-Yates step). 0 keeps the order, 1
        makes it uniformly random; the sizes of ties stay.
      invalid_probability: the probability that a ranking is withheld.
      seed: of the noise.

    Raises:
      ValueError: a probability is outside [0, 1].

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
        """The inner Oracle's rankings, with noise."""
        return rerank(self.inner, requests, self._add_noise)

    def _add_noise(self, ranking: Ranking, request: RankRequest) -> Ranking:
        rng = generator(self.seed, request.prompt_id, *request.responses)
        if rng.random() < self.invalid_probability:
            return dataclasses.replace(
                Ranking.invalid("withheld by the noisy Oracle", request.size, raw=ranking.raw),
                seconds=ranking.seconds,
            )
        source = list(range(len(ranking.ranks)))  # whose rank and score each response gets
        order = rng.permutation(len(source))
        for step, here in enumerate(order):
            if rng.random() < self.swap_probability:
                there = order[rng.integers(step, len(source))]
                source[here], source[there] = source[there], source[here]
        ranks = tuple(ranking.ranks[index] for index in source)
        scores = tuple(ranking.scores[index] for index in source if ranking.scores)
        return dataclasses.replace(ranking, ranks=ranks, scores=scores)
