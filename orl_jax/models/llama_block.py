"""One layer of LLaMA: norms, projections with LoRA, rotary positions, attention, MLP.

See `orl_jax.models.llama` for the model, `orl_jax.models.attention` for the attention.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from orl_jax.models.attention import attend
from orl_jax.models.dense import COLUMNS, ROWS, Storage
from orl_jax.models.lora import LoRADense
from orl_jax.models.rotary import Rotation, rotate
from orl_jax.models.sharding.constrain import constrain
from orl_jax.models.sharding.mesh import BATCH
from orl_jax.models.sharding.order import row_major

# Of one layer and segment, [B, C, G or 1, K, S] and [B, C, G or 1, S, K]; see `llama.Segment`.
KeysAndValues = tuple[Float[Array, "B C _ K _"], Float[Array, "B C _ _ K"]]


class LlamaBlock(nn.Module):
    """One layer: tokens `x` attend to the past segments and to themselves.

    Queries are the last tokens of `x`, as many as the last mask has rows; hidden states of the
    others are not computed. With `step` the one token of `x` is written into the last segment of
    `past` at that place, and the segment is returned; without it, the keys and values of `x` are.
    Also a scan body over stacked parameters and past keys and values.
    """

    heads: int
    kv_heads: int
    head_width: int
    mlp_width: int
    norm_epsilon: float
    lora_rank: int
    lora_alpha: float
    dtype: DTypeLike
    storage: Storage = Storage()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B G T D"],
        rotation: Rotation,
        masks: tuple[Bool[Array, "B _ _ _"], ...],
        past: tuple[KeysAndValues, ...],
        step: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B G _ D"], KeysAndValues]:
        width = x.shape[-1]

        def project(name: str, features: int, values: Array, split: tuple = COLUMNS) -> Array:
            settings = (self.lora_rank, self.lora_alpha, self.dtype, self.storage, split)
            return LoRADense(features, *settings, name=name)(values)

        def heads(name: str, count: int, values: Array) -> Array:
            y = project(name, count * self.head_width, values)
            y = y.reshape(*y.shape[:-1], count, self.head_width)
            return constrain(y, BATCH, None, None, "tensor", None)

        y = RMSNorm(self.norm_epsilon, self.dtype, name="attention_norm")(x)
        keys = rotate(heads("k", self.kv_heads, y), rotation)
        keys = _stored(keys, (0, 3, 1, 4, 2))
        values = _stored(heads("v", self.kv_heads, y), (0, 3, 1, 2, 4))
        if step is not None:
            *past, before = past
            keys, values = written(before, (keys, values), step)
        elif x.shape[2] == 1:  # a decoding step in a loop over layers
            past = jax.tree.map(_as_stored, past)
        asked = masks[-1].shape[2]
        if asked < x.shape[2]:
            x, y, rotation = jax.tree.map(lambda a: a[:, :, -asked:], (x, y, rotation))
        queries = rotate(heads("q", self.heads, y), rotation)
        own = (keys, values) if step is None else jax.tree.map(_as_stored, (keys, values))
        y = attend(queries, (*past, own), masks)
        y = y.reshape(*x.shape[:-1], self.heads * self.head_width)
        x = x + project("o", width, y, ROWS)
        y = RMSNorm(self.norm_epsilon, self.dtype, name="mlp_norm")(x)
        gate = jax.nn.silu(project("gate", self.mlp_width, y))
        x = x + project("down", width, gate * project("up", self.mlp_width, y), ROWS)
        return constrain(x, BATCH, None, None, None), (keys, values)


def written(
    past: tuple[Float[Array, "*lead K S"], Float[Array, "*lead S K"]],
    new: tuple[Float[Array, "*lead K 1"], Float[Array, "*lead 1 K"]],
    step: Int[Array, ""],
) -> tuple[Float[Array, "*lead K S"], Float[Array, "*lead S K"]]:
    """Past keys and values, with those at `step` replaced by the `new` token's.

    Example: keys [[0, 0, 0]] and values [[0], [0], [0]], with [[1]] as new ones and step 2, become
      [[0, 0, 1]] and [[0], [0], [1]].
    """
    write = jax.lax.dynamic_update_slice_in_dim
    (keys, values), (new_keys, new_values) = past, new
    return (
        write(keys, new_keys, step, axis=keys.ndim - 1),
        write(values, new_values, step, axis=values.ndim - 2),
    )


def _as_stored(past: Float[Array, "B C g _ _"]) -> Float[Array, "B C g _ _"]:
    """A layer's part of a cache, pinned to the memory order of its dimensions.

    XLA for GPUs otherwise picks another order and transposes the whole cache before each loop over
    the layers: a second cache, written again for each token. XLA for CPUs otherwise writes a token
    several times, into one copy of the cache per reader.
    """
    return row_major(past, BATCH, "tensor", None, None, None)


class RMSNorm(nn.Module):
    """Root-mean-square norm with a scale, computed in float32."""

    epsilon: float
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.epsilon)
        return (y * scale).astype(self.dtype)


def _stored(x: Float[Array, "B G T C K"], order: tuple[int, ...]) -> Float[Array, "B C G _ _"]:
    """Keys or values with their dimensions in the order of a `Segment`."""
    return constrain(x.transpose(order), BATCH, "tensor", None, None, None)
