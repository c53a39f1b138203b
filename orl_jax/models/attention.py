"""Attention over several segments of keys and values, with one softmax over all of them."""

from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_MASKED = -1e30  # finite, so that a fully masked row gives no NaN


def attend(
    queries: Float[Array, "B G T H K"],
    segments: tuple[tuple[Array, Array], ...],
    masks: tuple[Bool[Array, "B _ _ _"], ...],
) -> Float[Array, "B G T H K"]:
    """Attention over several segments of keys [B, C, G or 1, K, S] and values [B, C, G or 1, S, K],
    one softmax over all.

    Masks [B, G or 1, T or 1, S] are true where a query may look. Scores and softmax are float32.
    The softmax is put together from its parts, so that nothing as large as the scores is copied.
    """
    *lead, heads, width = queries.shape
    kv_heads = segments[0][0].shape[1]
    grouped = queries.reshape(*lead, kv_heads, heads // kv_heads, width) * width**-0.5
    grouped = grouped.transpose(0, 3, 1, 4, 2, 5)
    scores = [
        jnp.where(mask[:, None, :, None], _scores(grouped, keys), _MASKED)
        for (keys, _), mask in zip(segments, masks, strict=True)
    ]
    top = reduce(jnp.maximum, (part.max(axis=-1, keepdims=True) for part in scores))
    weights = [jnp.exp(part - jax.lax.stop_gradient(top)) for part in scores]
    total = sum(part.sum(axis=-1, keepdims=True) for part in weights)
    mixed = sum(
        _mix(part.astype(queries.dtype), values)
        for part, (_, values) in zip(weights, segments, strict=True)
    )
    mixed = (mixed / total).astype(queries.dtype)
    return mixed.transpose(0, 2, 4, 1, 3, 5).reshape(queries.shape)


# Results are spelt in the order of the products, [batch, left, right]: einsum else turns the
# operands round, and XLA copies the keys and values to match.


def _scores(queries: Array, keys: Array) -> Array:
    """[B, C, G, R, T, K] x [B, C, G or 1, K, S] -> float32 [B, C, G, R, T, S]."""
    if keys.shape[2] == 1:
        out = jnp.einsum("bcgrtk,bcks->bcgrts", queries, keys[:, :, 0])
    else:
        out = jnp.einsum("bcgrtk,bcgks->bcgrts", queries, keys)
    return out.astype(jnp.float32)


def _mix(weights: Array, values: Array) -> Array:
    """[B, C, G, R, T, S] x [B, C, G or 1, S, K] -> [B, C, G, R, T, K]."""
    if values.shape[2] == 1:
        return jnp.einsum("bcgrts,bcsk->bcgrtk", weights, values[:, :, 0])
    return jnp.einsum("bcgrts,bcgsk->bcgrtk", weights, values)
