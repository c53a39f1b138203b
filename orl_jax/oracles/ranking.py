"""An Oracle's answer about a group of responses: an order with ties, or why it has none."""

import dataclasses
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Ranking:
    """An Oracle's answer. Use one of the constructors below to make one.

    Args:
      ranks: one per response, 0 = best, ties share their mean rank. An invalid ranking ties all
        responses, so that arrays stay rectangular and finite and advantages are zero.
      valid: whether there is an order; an invalid ranking is left out of the loss.
      reason: why it is invalid.
      raw: the Oracle's reply, for the completions table.
      seconds: how long it took; ignored in comparisons.
      scores: the Oracle's own scores, one per response, finite, higher is better, consistent with
        the ranks; empty if it gives only an order. An invalid ranking has none.

    Raises:
      ValueError: ranks that are not mean ranks of an order, scores that contradict the ranks, an
        invalid ranking with scores or without a reason.
    """

    ranks: tuple[float, ...]
    valid: bool = True
    reason: str = ""
    raw: str = ""
    seconds: float = dataclasses.field(default=0.0, compare=False)
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranks", tuple(float(rank) for rank in self.ranks))
        if self.ranks != _mean_ranks([-rank for rank in self.ranks]) or not self.ranks:
            raise ValueError(
                f"{self.ranks} are not mean ranks; use Ranking.from_order or from_scores"
            )
        if not self.valid and not self.reason:
            raise ValueError("an invalid ranking needs a reason")
        object.__setattr__(self, "scores", tuple(float(score) for score in self.scores))
        if self.scores:
            self._check_scores()

    def _check_scores(self) -> None:
        if not self.valid:
            raise ValueError("an invalid ranking has no scores")
        if not all(map(math.isfinite, self.scores)):
            raise ValueError(f"the scores {self.scores} are not all finite")
        if self.ranks != _mean_ranks(self.scores):  # also if the lengths differ
            raise ValueError(f"the scores {self.scores} contradict the ranks {self.ranks}")

    @property
    def tiers(self) -> tuple[tuple[int, ...], ...]:
        """The order in the form of `from_order`: indices, best first, tied ones together.

        Example: `Ranking((1.5, 1.5, 0.0)).tiers == ((2,), (0, 1))`.
        """
        levels = sorted(set(self.ranks))
        return tuple(tuple(i for i, rank in enumerate(self.ranks) if rank == k) for k in levels)

    @classmethod
    def from_order(cls, order: Any, size: int, *, raw: str = "", seconds: float = 0.0) -> Self:
        """A ranking from indices, best first; an inner list holds tied ones.

        Anything but every index in [0, size) exactly once gives an invalid ranking.

        Example: `Ranking.from_order([2, [0, 1]], 3).ranks == (1.5, 1.5, 0.0)`.
        """
        return cls._checked(order, size, raw, seconds, rest_tied=False)

    @classmethod
    def from_top_k(cls, top: Any, size: int, *, raw: str = "", seconds: float = 0.0) -> Self:
        """A ranking from only the best, in the form of `from_order`; the rest are tied last.

        Example: `Ranking.from_top_k([2], 3).ranks == (1.5, 1.5, 0.0)`.
        """
        return cls._checked(top, size, raw, seconds, rest_tied=True)

    @classmethod
    def from_scores(
        cls, scores: Any, size: int | None = None, *, raw: str = "", seconds: float = 0.0
    ) -> Self:
        """A ranking from scores, higher is better, equal is tied; it keeps the scores.

        Infinite scores are ranked, but the ranking then keeps no scores.

        A score that is not a number, or a count other than `size`, gives an invalid ranking.

        Example: `Ranking.from_scores([0.1, 0.9, 0.1]).ranks == (1.5, 0.0, 1.5)`.
        """
        size = _checked_size(len(scores) if size is None else size)
        try:
            values = [_number(score) for score in scores]
        except (TypeError, ValueError, OverflowError) as error:
            return cls.invalid(f"scores: {error}", size, raw=raw, seconds=seconds)
        if len(values) != size:
            reason = f"{len(values)} scores for {size} responses"
            return cls.invalid(reason, size, raw=raw, seconds=seconds)
        kept = tuple(values) if all(map(math.isfinite, values)) else ()
        return cls(_mean_ranks(values), raw=raw, seconds=seconds, scores=kept)

    @classmethod
    def invalid(cls, reason: str, size: int, *, raw: str = "", seconds: float = 0.0) -> Self:
        """No order, with the reason; all `size` responses are tied."""
        ranks = _mean_ranks([0.0] * _checked_size(size))
        return cls(ranks, valid=False, reason=reason, raw=raw, seconds=seconds)

    @classmethod
    def _checked(cls, order: Any, size: int, raw: str, seconds: float, rest_tied: bool) -> Self:
        size = _checked_size(size)
        try:
            tiers = _tiers(order, size)
        except (TypeError, ValueError) as error:
            return cls.invalid(str(error), size, raw=raw, seconds=seconds)
        missing = sorted(set(range(size)).difference(*tiers))
        if missing and not (rest_tied and any(tiers)):
            reason = f"responses {missing} are missing from the order"
            return cls.invalid(reason, size, raw=raw, seconds=seconds)
        scores = {index: -place for place, tier in enumerate([*tiers, missing]) for index in tier}
        ranks = _mean_ranks([scores[index] for index in range(size)])
        return cls(ranks, raw=raw, seconds=seconds)


def _mean_ranks(scores: Sequence[float]) -> tuple[float, ...]:
    higher = [sum(other > score for other in scores) for score in scores]
    equal = [sum(other == score for other in scores) for score in scores]
    return tuple(h + (e - 1) / 2 for h, e in zip(higher, equal, strict=True))


def _tiers(order: Any, size: int) -> list[list[int]]:
    """The order as lists of tied indices; raises `ValueError` if it is not one."""
    if not _is_list(order):
        raise ValueError(f"the order is not a list but {order!r:.80}")
    tiers = [[_index(i, size) for i in (tier if _is_list(tier) else [tier])] for tier in order]
    named = [index for tier in tiers for index in tier]
    twice = sorted({index for index in named if named.count(index) > 1})
    if twice:
        raise ValueError(f"responses {twice} are named more than once")
    return tiers


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _index(value: Any, size: int) -> int:
    if isinstance(value, bool):  # True is an int in Python, but not an index
        raise ValueError(f"{value!r} is not an index")
    try:
        index = operator.index(value)
    except TypeError:
        raise ValueError(f"{value!r:.80} is not an index") from None
    if not 0 <= index < size:
        raise ValueError(f"index {index} is outside 0 ... {size - 1}")
    return index


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise ValueError(f"{value!r:.80} is not a number")
    number = float(value)
    if math.isnan(number):
        raise ValueError("nan is not a number to order by")
    return number


def _checked_size(size: int) -> int:
    if size < 1:
        raise ValueError(f"a ranking of {size} responses; at least 1 is needed")
    return size
