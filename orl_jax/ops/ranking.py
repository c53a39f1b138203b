"""Ranks, discounted gains and agreement of orders within a group of G responses.

Everything is a pure function over the last axis (the group); leading axes are free, and `jit`,
`vmap` and `grad` work (the gradient is zero, as only comparisons of the inputs matter). Groups are
small, so ranks come from the G x G table of comparisons rather than from a sort: ties then need no
special case.
"""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real

_DISCOUNTS = {
    "log2": lambda x: 1 / np.log2(2 + x),
    "printed": lambda x: np.log2(2 + x) / (1 + x),
    "product": lambda x: 1 / ((1 + x) * np.log2(2 + x)),
}
DISCOUNTS = tuple(_DISCOUNTS)


def ranks(scores: Real[ArrayLike, "*batch G"]) -> Float[Array, "*batch G"]:
    """Rank of every score within its group: 0 for the highest; ties share their mean rank.

    Args:
      scores: any real dtype; higher is better. NaN gets the rank NaN.

    Returns:
      float32 ranks in [0, G - 1]; those of a group sum to G (G - 1) / 2.

    Example: `ranks(jnp.array([0.5, 2.0, 0.5])) == [1.5, 0.0, 1.5]`.
    """
    scores = jnp.asarray(scores)
    higher = _count(scores[..., None, :] > scores[..., :, None])
    equal = _count(scores[..., None, :] == scores[..., :, None])
    return jnp.where(equal > 0, higher + (equal - 1) / 2, jnp.nan)


def gains(ranks: Real[ArrayLike, "*batch G"], discount: str = "log2") -> Float[Array, "*batch G"]:
    """Discounted gain of every rank; ties share the mean gain of the positions they occupy.

    So the gains of a group sum to `sum(position_gains(G, discount))`, whatever its ties. Only the
    order of `ranks` matters, not their values: a tie may be written as its mean, lowest or highest
    rank.

    Args:
      ranks: 0 is best; equal ranks are ties.
      discount: "log2" D(x) = 1 / log2(2 + x), nDCG's discount (Järvelin and Kekäläinen 2002);
        "printed" log2(2 + x) / (1 + x), which reproduces the numbers in arXiv 2510.02561;
        "product" 1 / ((1 + x) log2(2 + x)).

    Raises:
      ValueError: unknown discount.

    Example: `gains(jnp.array([1.5, 0.0, 1.5]))` is [0.5655, 1, 0.5655], where 0.5655 is the mean of
    1 / log2(3) and 1 / log2(4).
    """
    ranks = jnp.asarray(ranks)
    first = _count(ranks[..., None, :] < ranks[..., :, None])[..., None]
    size = _count(ranks[..., None, :] == ranks[..., :, None])[..., None]
    position = jnp.arange(ranks.shape[-1], dtype=jnp.float32)
    occupied = (first <= position) & (position < first + size)
    weight = jnp.asarray(position_gains(ranks.shape[-1], discount), jnp.float32)
    return jnp.sum(jnp.where(occupied, weight, 0.0), axis=-1) / size[..., 0]


def position_gains(size: int, discount: str = "log2") -> np.ndarray:
    """D(0) ... D(size - 1) as float64, strictly decreasing; see `gains` for the discounts.

    Raises:
      ValueError: unknown discount.

    Example: `position_gains(3)` is [1, 0.6309, 0.5].
    """
    if discount not in _DISCOUNTS:
        raise ValueError(f"unknown discount {discount!r}; choose one of {', '.join(DISCOUNTS)}")
    return _DISCOUNTS[discount](np.arange(size, dtype=np.float64))


def kendall_tau(
    a: Real[ArrayLike, "*batch G"], b: Real[ArrayLike, "*batch G"]
) -> Float[Array, "*batch"]:
    """Kendall's tau-b of two orders (Kendall 1945), in [-1, 1]; 0 where either ties everything.

    tau-b = (concordant - discordant pairs) / sqrt(pairs untied in a x pairs untied in b). `a` and
    `b` are both ranks or both scores.

    Example: `kendall_tau(jnp.array([0, 1, 2]), jnp.array([0, 2, 1])) == 1 / 3`.
    """
    sign_a, sign_b = _pair_signs(jnp.asarray(a)), _pair_signs(jnp.asarray(b))
    both = jnp.sum(sign_a * sign_b, axis=(-2, -1))
    untied = jnp.sum(sign_a**2, axis=(-2, -1)) * jnp.sum(sign_b**2, axis=(-2, -1))
    return jnp.where(untied > 0, both / jnp.sqrt(jnp.where(untied > 0, untied, 1.0)), 0.0)


def ndcg(
    oracle_ranks: Real[ArrayLike, "*batch G"], predicted_ranks: Real[ArrayLike, "*batch G"]
) -> Float[Array, "*batch"]:
    """Normalised discounted cumulative gain of the predicted order, judged by the Oracle's.

    nDCG = sum_i rel_i h_i / sum_i rel_i g_i with a linear relevance rel_i = G - 1 - r_i (r: the
    Oracle's mean ranks), h = `gains(predicted_ranks, "log2")`, g = `gains(oracle_ranks, "log2")`.
    Predicted ties count as the mean over the orders that break them. In (0, 1]; 1 exactly where the
    predicted order agrees with the Oracle's weak order, hence also where the Oracle ties everything
    and for G = 1. Source: Järvelin and Kekäläinen 2002; ties: McSherry and Najork 2008.

    Example: `ndcg(jnp.array([0, 1, 2]), jnp.array([2, 1, 0]))` is 1.6309 / 2.6309 = 0.6199.
    """
    oracle_ranks = ranks(-jnp.asarray(oracle_ranks, jnp.float32))  # any tie convention -> mean
    relevance = oracle_ranks.shape[-1] - 1 - oracle_ranks
    ideal = jnp.sum(relevance * gains(oracle_ranks), axis=-1)
    found = jnp.sum(relevance * gains(predicted_ranks), axis=-1)
    return jnp.where(ideal > 0, found / jnp.where(ideal > 0, ideal, 1.0), 1.0)


def tie_fraction(ranks: Real[ArrayLike, "*batch G"]) -> Float[Array, "*batch"]:
    """Fraction of the G (G - 1) / 2 pairs of a group that are tied; 0 for G = 1.

    Example: `tie_fraction(jnp.array([1.5, 0.0, 1.5])) == 1 / 3`.
    """
    ranks = jnp.asarray(ranks)
    size = ranks.shape[-1]
    equal = _count(ranks[..., None, :] == ranks[..., :, None])
    return jnp.sum(equal - 1, axis=-1) / max(size * (size - 1), 1)


def _count(table: Array) -> Array:
    return jnp.sum(table, axis=-1, dtype=jnp.float32)


def _pair_signs(values: Array) -> Array:
    """sign(v_i - v_j) from comparisons, so that infinite values do not give NaN."""
    greater = values[..., :, None] > values[..., None, :]
    less = values[..., :, None] < values[..., None, :]
    return greater.astype(jnp.float32) - less.astype(jnp.float32)
