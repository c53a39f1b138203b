"""The loss of a ranker on lists of answers in a known order: Plackett and Luce's model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class RankingLoss(NamedTuple):
    """The loss to minimise; the share of untied pairs ordered right; their mean distance."""

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]
    margin: Float[Array, ""]


def ranking_loss(scores: Float[Array, "N G"], ranks: Float[Array, "N G"]) -> RankingLoss:
    """The mean over choices of -log P(choice), a list being chosen from its best to its worst.

    P(i is chosen) = exp(s_i) / sum over all that are not ranked before i of exp(s_j). Tied answers
    are each chosen among all that were left before their tie (Breslow's form for ties). The last
    answers, tied or not, are what remains, not choices: their order is not asked for. With two
    answers this is Bradley and Terry's model of pairs, -log sigmoid(s_better - s_worse).

    Source: Plackett 1975, Luce 1959; ListMLE (Xia et al. 2008).

    Args:
      scores: higher is better.
      ranks: 0 = best, ties share their mean rank. A list that is tied whole has no choice in it.

    Example: equal scores of three untied answers have the loss (log 3 + log 2) / 2 = 0.8959.
    """
    not_before = ranks[..., None, :] >= ranks[..., None]  # [N, i, j]: j is left when i is chosen
    left = jax.nn.logsumexp(jnp.where(not_before, scores[..., None, :], -jnp.inf), axis=-1)
    chosen = ranks < ranks.max(axis=-1, keepdims=True)
    better = ranks[..., None] < ranks[..., None, :]
    distance = scores[..., None] - scores[..., None, :]
    right = (distance > 0) + 0.5 * (distance == 0)
    return RankingLoss(
        loss=_mean(left - scores, chosen),
        accuracy=_mean(right, better),
        margin=_mean(distance, better),
    )


def _mean(values: Float[Array, "*S"], where: Bool[Array, "*S"]) -> Float[Array, ""]:
    """The mean of some of the values; 0 where there are none."""
    return jnp.sum(values, where=where) / jnp.maximum(where.sum(), 1)
