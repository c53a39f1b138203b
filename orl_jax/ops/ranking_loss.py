"""The loss of a ranker on lists of responses in a known order: the Plackett-Luce model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class RankingLoss(NamedTuple):
    """The loss to minimise; the fraction of untied pairs in the right order; their mean margin."""

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]
    margin: Float[Array, ""]


def ranking_loss(scores: Float[Array, "N G"], ranks: Float[Array, "N G"]) -> RankingLoss:
    """The mean over choices of -log P(choice), where a list is drawn from its best to its worst.

    P(i is chosen) = exp(s_i) / (exp(s_i) + sum of exp(s_j) over all j ranked below i). Tied
    responses do not compete: each is chosen against those ranked below the tie. The lowest-ranked
    responses, tied or not, are what remains and need no choice. For two responses this is the
    Bradley-Terry model of pairs, -log sigmoid(s_better - s_worse).

    Source: Plackett 1975, Luce 1959; ListMLE (Xia et al. 2008).

    Args:
      scores: higher is better.
      ranks: 0 = best, ties share their mean rank. A list where all are tied contains no choice.

    Example: three untied responses with equal scores: (log 3 + log 2) / 2 = 0.8959.
    """
    below = ranks[..., None, :] > ranks[..., None]  # [N, i, j]: j is ranked below i
    margin = scores[..., None] - scores[..., None, :]
    correct = (margin > 0) + 0.5 * (margin == 0)
    return RankingLoss(
        loss=_mean(*choice_losses(scores, ranks)),
        accuracy=_mean(correct, below),
        margin=_mean(margin, below),
    )


def choice_losses(
    scores: Float[Array, "*batch G"], ranks: Float[Array, "*batch G"]
) -> tuple[Float[Array, "*batch G"], Bool[Array, "*batch G"]]:
    """-log P of choosing each response, and which are choices: all but the lowest-ranked.

    Example: two responses with equal scores: (log 2 for the better, 0) and (True, False).
    """
    below = ranks[..., None, :] > ranks[..., None]
    rivals = below | jnp.eye(ranks.shape[-1], dtype=bool)
    normaliser = jax.nn.logsumexp(jnp.where(rivals, scores[..., None, :], -jnp.inf), axis=-1)
    return normaliser - scores, ranks < ranks.max(axis=-1, keepdims=True)


def _mean(values: Float[Array, "*S"], where: Bool[Array, "*S"]) -> Float[Array, ""]:
    """The mean of the selected values; 0 where none is selected."""
    return jnp.sum(values, where=where) / jnp.maximum(where.sum(), 1)
