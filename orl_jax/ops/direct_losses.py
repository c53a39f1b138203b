"""Losses of an order of G responses that need no advantages: direct alignment, listwise.

Each is a function of one number a response and of the Oracle's ranks, over the last axis (the
group, G >= 2), and gives one loss a group: the mean over the pairs or choices that the ranks
contain. `has_order` says which groups contain any; the loss of the others is 0 and they are to be
left out of means. The number is the log-ratio to the reference,

    margin_i = sum_t (log pi - log pi_ref),

for all but `best_of_loss`. All are minimised where the policy's order is the Oracle's.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Real

from orl_jax.ops.ranking_loss import choice_losses

Margins = Float[Array, "*batch G"]
Ranks = Real[Array, "*batch G"]
Losses = Float[Array, "*batch"]


def has_order(ranks: Ranks) -> Bool[Array, "*batch"]:
    """Whether the Oracle prefers any response of the group to another."""
    return jnp.any(ranks != ranks[..., :1], axis=-1)


def dpo_loss(margins: Margins, ranks: Ranks, beta: float = 0.1) -> Losses:
    """Online DPO on all untied pairs: mean of -log sigmoid(beta (margin_i - margin_j)), r_i < r_j.

    Source: arXiv 2305.18290, eq. 7, with pairs of the policy's own responses (2402.04792). With two
    responses this is TRL's OnlineDPOTrainer, except that a tie trains nothing; there the first
    response wins it.

    Args:
      margins: see the module.
      ranks: 0 is best; equal ranks are ties.
      beta: how strongly the reference holds; TRL's default.

    Example: equal margins of two responses: log 2 = 0.6931.
    """
    return _mean(-jax.nn.log_sigmoid(beta * _differences(margins)), _preferred(ranks))


def best_worst_dpo_loss(margins: Margins, ranks: Ranks, beta: float = 0.1) -> Losses:
    """Online DPO on the pairs of a best and a worst response only; ties among these are averaged.

    Args, source: as `dpo_loss`.

    Example: of three responses ranked 0, 1, 2 the second has no influence.
    """
    first, last = (ranks == end(ranks, axis=-1, keepdims=True) for end in (jnp.min, jnp.max))
    pairs = first[..., :, None] & last[..., None, :] & _preferred(ranks)
    return _mean(-jax.nn.log_sigmoid(beta * _differences(margins)), pairs)


def list_dpo_loss(margins: Margins, ranks: Ranks, beta: float = 0.1) -> Losses:
    """DPO on the whole order: the Plackett-Luce model of `ranking_loss` with scores beta margin.

    The mean over all but the lowest-ranked of
    log(e^{beta m_i} + sum over r_j > r_i of e^{beta m_j}) - beta m_i.

    Source: arXiv 2305.18290, appendix A.3; ties as in `ranking_loss`.

    Example: three untied responses with equal margins: (log 3 + log 2) / 2 = 0.8959.
    """
    losses, chosen = choice_losses(beta * margins, ranks)
    total = jnp.sum(jnp.where(chosen, losses, 0.0), axis=-1)
    return total / jnp.maximum(chosen.sum(axis=-1), 1)


def lipo_loss(margins: Margins, ranks: Ranks, beta: float = 0.1) -> Losses:
    """LiPO-lambda: pairs weighted by what exchanging the two would change in the nDCG.

    With s = beta margin, psi_i = 1 - r_i / (G - 1), tau_i the place of s_i from 1, highest first:

      w_ij = |2^psi_i - 2^psi_j| |1 / log(1 + tau_i) - 1 / log(1 + tau_j)|
      loss = mean over r_i < r_j of w_ij log(1 + exp(-(s_i - s_j))), w constant

    Places are ordinal, of equal s in the order of the group: with shared places all weights would
    be 0 before the first update. Source: arXiv 2402.01878, the lambda loss; its labels psi are
    scores, these are made of ranks.

    Example: two responses with equal margins: (2 - 1) (1 / log 2 - 1 / log 3) log 2 = 0.3691.
    """
    scores = beta * margins
    label = 2.0 ** (1 - ranks / (ranks.shape[-1] - 1))
    place = jnp.argsort(jnp.argsort(-scores, axis=-1, stable=True), axis=-1) + 1
    discount = 1 / jnp.log1p(place)
    weight = jnp.abs(_differences(label) * _differences(discount))
    losses = -jax.nn.log_sigmoid(_differences(scores))
    return _mean(jax.lax.stop_gradient(weight) * losses, _preferred(ranks))


def best_of_loss(means: Margins, ranks: Ranks) -> Losses:
    """Best of G with a margin: RRHF's hinge on all untied pairs, and SFT on the best responses.

      sum over r_i < r_j of max(0, p_j - p_i) - mean over the best of p_i

    Args:
      means: p_i, the mean log-probability of a response's tokens; no reference.
      ranks: as in `dpo_loss`.

    Source: arXiv 2304.05302, section 3 (there the best response is taught by its sum). Without
    the hinge it is RAFT (2304.06767).

    Example: means -1 and -2, the second preferred: 1 + 2 = 3.
    """
    preferred = _preferred(ranks)
    hinge = jnp.where(preferred, jax.nn.relu(-_differences(means)), 0.0).sum(axis=(-2, -1))
    best = ranks == jnp.min(ranks, axis=-1, keepdims=True)
    taught = jnp.sum(jnp.where(best, means, 0.0), axis=-1) / best.sum(axis=-1)
    return jnp.where(has_order(ranks), hinge - taught, 0.0)


def _preferred(ranks: Ranks) -> Bool[Array, "*batch G G"]:
    """[..., i, j]: i is ranked before j."""
    return ranks[..., :, None] < ranks[..., None, :]


def _differences(values: Array) -> Float[Array, "*batch G G"]:
    """[..., i, j]: v_i - v_j."""
    return values[..., :, None] - values[..., None, :]


def _mean(values: Array, pairs: Array) -> Losses:
    """Over the selected pairs of each group; 0 where none is selected."""
    total = jnp.sum(jnp.where(pairs, values, 0.0), axis=(-2, -1))
    return total / jnp.maximum(pairs.sum(axis=(-2, -1)), 1)
