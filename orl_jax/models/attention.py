"""Attention over several segments of keys and values, with one softmax over all of them."""

from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_MASKED = -1e30  # finite, so that a fully masked row gives no NaN


def attend(
    queries: Float[Array, "B G T H K"],
    segments: tuple[tuple[Float[Array, "B C _ K _"], Float[Array, "B C _ _ K"]], ...],
    masks: tuple[Bool[Array, "B _ _ _"], ...],
) -> Float[Array, "B G T H K"]:
    """Attention over several segments with one softmax over all of them.

    Args:
      queries: of H heads, a multiple of the C key-value heads.
      segments: keys [B, C, G or 1, K, S] and values [B, C, G or 1, S, K] of each segment.
      masks: [B, G or 1, T or 1, S] of each segment, true where a query may look.

    Scores, softmax and weighted sums are accumulated in float32, whatever the type of the inputs;
    only the softmax's weights are rounded to it, for the product with the values. The softmax is
    combined from its parts, so that nothing as large as the scores is copied.
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


# Outputs are in the order of the products, [batch, left, right]: otherwise einsum swaps the
# operands, and XLA copies the keys and values to match.


def _scores(
    queries: Float[Array, "B C G R T K"], keys: Float[Array, "B C _ K S"]
) -> Float[Array, "B C G R T S"]:
    """Products of queries and keys (group axis G or 1), in float32; R query heads a key head."""
    if keys.shape[2] == 1:
        return _product("bcgrtk,bcks->bcgrts", queries, keys[:, :, 0])
    return _product("bcgrtk,bcgks->bcgrts", queries, keys)


def _mix(
    weights: Float[Array, "B C G R T S"], values: Float[Array, "B C _ S K"]
) -> Float[Array, "B C G R T K"]:
    """Weighted sums of values (group axis G or 1), in float32."""
    if values.shape[2] == 1:
        return _product("bcgrts,bcsk->bcgrtk", weights, values[:, :, 0])
    return _product("bcgrts,bcgsk->bcgrtk", weights, values)


def _product(axes: str, left: Array, right: Array) -> Array:
    """`einsum` whose sums are float32: a product in bfloat16 would be rounded before it is used."""
    return jnp.einsum(axes, left, right, preferred_element_type=jnp.float32)
