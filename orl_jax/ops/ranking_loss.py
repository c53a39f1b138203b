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

    P(i is chosen) = exp(s_i) / (exp(s_i) + sum over all that are ranked behind i of exp(s_j)). Of
    tied answers none has to beat the others: each is chosen from what comes behind the tie. The
    last answers, tied or not, are what remains, not choices. With two answers this is Bradley and
    Terry's model of pairs, -log sigmoid(s_better - s_worse).

    Source: Plackett 1975, Luce 1959; ListMLE (Xia et al. 2008).

    Args:
      scores: higher is better.
      ranks: 0 = best, ties share their mean rank. A list that is tied whole has no choice in it.

    Example: equal scores of three untied answers have the loss (log 3 + log 2) / 2 = 0.8959.
    """
    behind = ranks[..., None, :] > ranks[..., None]  # [N, i, j]: j is left when i is chosen
    rivals = behind | jnp.eye(ranks.shape[-1], dtype=bool)
    left = jax.nn.logsumexp(jnp.where(rivals, scores[..., None, :], -jnp.inf), axis=-1)
    chosen = ranks < ranks.max(axis=-1, keepdims=True)
    distance = scores[..., None] - scores[..., None, :]
    right = (distance > 0) + 0.5 * (distance == 0)
    return RankingLoss(
        loss=_mean(left - scores, chosen),
        accuracy=_mean(right, behind),
        margin=_mean(distance, behind),
    )


def _mean(values: Float[Array, "*S"], where: Bool[Array, "*S"]) -> Float[Array, ""]:
    """The mean of some of the values; 0 where there are none."""
    return jnp.sum(values, where=where) / jnp.maximum(where.sum(), 1)
