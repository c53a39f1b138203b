"""Wrappers that reverse an order or keep only part of it, to see how little training needs.

Invalid rankings of the inner Oracle pass through unchanged.
"""

import dataclasses
from collections.abc import Sequence

from orl_jax.oracles.protocol import Oracle, RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.wrappers.wrapper import generator, rerank


@dataclasses.dataclass(frozen=True)
class ReversedOracle:
    """An adversary: reverses the order. Scores are negated; ties stay.

    Args:
      inner: the Oracle whose order is reversed.

    Example: where `inner` ranks a group (0, 1.5, 1.5), `ReversedOracle(inner)` says (2, 0.5, 0.5).
    """

    inner: Oracle

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """The inner Oracle's rankings, reversed."""
        return rerank(self.inner, requests, self._reverse)

    def _reverse(self, ranking: Ranking, request: RankRequest) -> Ranking:
        last = len(ranking.ranks) - 1
        ranks = tuple(last - rank for rank in ranking.ranks)
        scores = tuple(-score for score in ranking.scores)
        return dataclasses.replace(ranking, ranks=ranks, scores=scores)


@dataclasses.dataclass(frozen=True)
class TopOracle:
    """Names only the best responses, in order, and ties the rest last. Gives no scores.

    A judge who is asked for *the best answer* names one even among equals. So if a tie straddles
    the cut, as many of its responses as there is room for are drawn at random and tied with each
    other. The draw depends only on `seed`, the prompt id and the responses. Ties above the cut stay
    ties.

    Args:
      inner: the Oracle that knows the whole order.
      k: how many to name, at least 1; all if the group is not larger.
      seed: of the draws.

    Raises:
      ValueError: k is below 1, or not an integer.

    Example: where `inner` ranks a group (0, 1, 2, 3), `TopOracle(inner)` says (0, 2, 2, 2).
    """

    inner: Oracle
    k: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        _check_integer("k", self.k, least=1)

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """The inner Oracle's rankings, cut after the k best."""
        return rerank(self.inner, requests, self._cut)

    def _cut(self, ranking: Ranking, request: RankRequest) -> Ranking:
        rng = generator(self.seed, request.prompt_id, *request.responses)
        top, room = [], self.k
        for tier in ranking.tiers:
            if len(tier) > room:
                tier = rng.choice(tier, size=room, replace=False)
            top.append(tier)
            room -= len(tier)
            if not room:
                break
        size = len(ranking.ranks)
        return Ranking.from_top_k(top, size, raw=ranking.raw, seconds=ranking.seconds)


@dataclasses.dataclass(frozen=True)
class CoarseOracle:
    """Sorts responses into a few levels, such as "good" and "bad". Gives no scores.

    Neighbouring tiers (groups of tied responses) are merged: of m tiers, counted from 0 = best,
    tier t goes to level floor(t * levels / m). An order of at most `levels` tiers is unchanged.

    Args:
      inner: the Oracle that knows the finer order.
      levels: the most levels to keep, at least 2; 1 would leave nothing to learn from.

    Raises:
      ValueError: levels is below 2, or not an integer.

    Example: where `inner` ranks a group (0, 1, 2, 3), `CoarseOracle(inner)` says
    (0.5, 0.5, 2.5, 2.5).
    """

    inner: Oracle
    levels: int = 2

    def __post_init__(self) -> None:
        _check_integer("levels", self.levels, least=2)

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """The inner Oracle's rankings, with neighbouring tiers merged."""
        return rerank(self.inner, requests, self._merge)

    def _merge(self, ranking: Ranking, request: RankRequest) -> Ranking:
        tiers = ranking.tiers
        levels = min(self.levels, len(tiers))
        merged: list[list[int]] = [[] for _ in range(levels)]
        for place, tier in enumerate(tiers):
            merged[place * levels // len(tiers)].extend(tier)
        size = len(ranking.ranks)
        return Ranking.from_order(merged, size, raw=ranking.raw, seconds=ranking.seconds)


def _check_integer(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be an integer of at least {least}")
