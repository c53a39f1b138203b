"""The answers of a group as a person sees them: each text once, in a neutral order."""

import random
from collections.abc import Sequence
from typing import Any

from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking


def shown_texts(request: RankRequest, seed: int) -> tuple[str, ...]:
    """The distinct answers, shuffled by prompt and seed, independent of their original order.

    Example: `shown_texts(RankRequest("p0", "Red?", ("yes", "no", "yes")), seed=0)` has two texts.
    """
    texts = sorted(set(request.responses))
    random.Random(repr((seed, request.prompt_id, request.question))).shuffle(texts)
    return tuple(texts)


def to_ranking(order: Any, request: RankRequest, texts: Sequence[str]) -> Ranking:
    """Converts a person's order of the texts to a ranking of the responses.

    Args:
      order: indices of `texts`, best first, ties in an inner list; unchecked input.
      texts: see `shown_texts`.

    Returns:
      A valid ranking of all responses, with identical ones tied; an invalid one if `order` does not
      contain every text exactly once.

    Example: `to_ranking([1, 0], RankRequest("p0", "Red?", ("a", "b", "a")), ("a", "b")).ranks` is
    (1.5, 0.0, 1.5).
    """
    said = Ranking.from_order(order, len(texts))
    if not said.valid:
        return Ranking.invalid(said.reason, request.size)
    tiers = [{texts[index] for index in tier} for tier in said.tiers]
    return Ranking.from_order(
        [[i for i, text in enumerate(request.responses) if text in tier] for tier in tiers],
        request.size,
    )


def to_order(ranking: Ranking, request: RankRequest, texts: Sequence[str]) -> list[list[int]]:
    """The inverse of `to_ranking`: indices of the texts, best first, ties in one list."""
    ranks = dict(zip(request.responses, ranking.ranks, strict=True))
    levels = sorted(set(ranks.values()))
    return [[i for i, text in enumerate(texts) if ranks[text] == level] for level in levels]


def are_cut(request: RankRequest, texts: Sequence[str]) -> list[bool]:
    """For each text, whether every answer with it was cut off at the length limit."""
    whole = {
        text for text, cut in zip(request.responses, request.truncated, strict=True) if not cut
    }
    return [text not in whole for text in texts]
