"""The answers of a group as a person sees them: each text once, in an order that tells nothing."""

import random
from collections.abc import Sequence
from typing import Any

from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking


def shown_texts(request: RankRequest, seed: int) -> tuple[str, ...]:
    """The distinct answers, shuffled: the same for a prompt and a seed, whatever their order was.

    Example: `shown_texts(RankRequest("p0", "Red?", ("yes", "no", "yes")), seed=0)` has two texts.
    """
    texts = sorted(set(request.responses))
    random.Random(repr((seed, request.prompt_id, request.question))).shuffle(texts)
    return tuple(texts)


def to_ranking(order: Any, request: RankRequest, texts: Sequence[str]) -> Ranking:
    """The ranking of the responses that a person's order of the texts says.

    Args:
      order: indices of `texts`, best first, tied ones in an inner list; anything, if it came in.
      texts: see `shown_texts`.

    Returns:
      An invalid ranking where the order is none of all texts, else a valid one of all responses, in
      which identical ones are tied.

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
    """The other way round: indices of the texts, best first, tied ones together."""
    ranks = dict(zip(request.responses, ranking.ranks, strict=True))
    levels = sorted(set(ranks.values()))
    return [[i for i, text in enumerate(texts) if ranks[text] == level] for level in levels]


def are_cut(request: RankRequest, texts: Sequence[str]) -> list[bool]:
    """Of each text whether the answer was broken off at the length limit, wherever it occurs."""
    whole = {
        text for text, cut in zip(request.responses, request.truncated, strict=True) if not cut
    }
    return [text not in whole for text in texts]
