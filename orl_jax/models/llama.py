"""LLaMA (arXiv 2302.13971, 2307.09288; `LlamaForCausalLM` of transformers is the reference).

RMSNorm, rotary positions (rotate-half), SwiGLU, grouped-query attention, LoRA on all seven
projections. One forward serves prefill, decoding and training: tokens [B, G, T] attend to
themselves causally and to any number of past segments of keys and values. A segment whose group
axis is 1 is shared by the G responses of a prompt, so that the prompt is computed and stored once.
"""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from orl_jax.models.dense import COLUMNS, ROWS, Storage
from orl_jax.models.lora import LoRADense
from orl_jax.models.rotary import RotaryScaling, Rotation, rotary_angles, rotate
from orl_jax.models.sharding.constrain import constrain
from orl_jax.models.sharding.mesh import BATCH
from orl_jax.models.sharding.order import row_major

_LAST_ONLY = 5  # the place of `last_only` among the arguments of a block, itself the first
_MASKED = -1e30  # finite, so that a fully masked row gives no NaN


class Segment(NamedTuple):
    """Keys and values of past tokens in every layer (N layers, C key-value heads of width K).

    The group axis is G, or 1 where the group shares the segment. Heads are before it, and keys have
    their width before the tokens: what a product of matrices reads lies as it reads it. Where
    layers are modules of their own (`Llama.stacked`), keys and values are tuples of N arrays.
    """

    keys: Float[Array, "N B C G K S"] | tuple[Float[Array, "B C G K S"], ...]
    values: Float[Array, "N B C G S K"] | tuple[Float[Array, "B C G S K"], ...]
    mask: Bool[Array, "B G S"]


class Llama(nn.Module):
    """A decoder without its embedding lookup: hidden states in, hidden states out.

    Parameters of the layers are stacked on a leading axis and scanned, `unroll` layers at a time: a
    loop compiles fast and needs little memory for many layers, a few small ones run faster
    unrolled. `heads` must be a multiple of `kv_heads`; `embedding_std` is of fresh embeddings.

    Attributes:
      stacked: false makes each layer a module of its own, `turned` turns its kernels round; see
        `orl_jax.models.unstacked` for both.
      head_width: K; 0 is width / heads.
      tied: the projection to logits is the embedding, transposed; no parameter `lm_head` then.
      rope_scaling, rope_factor, rope_low_frequency, rope_high_frequency, rope_original_length: see
        `RotaryScaling`.
      dtype: of the computation, "float32" or "bfloat16"; parameters, norms, rotations and the
        softmax are float32 always.
      quantisation, quantisation_block: of the layers' frozen kernels; see `Storage`. The embedding
        and the projection to logits are never quantised.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp_width: int
    head_width: int = 0
    tied: bool = False
    rope_base: float = 10000.0
    rope_scaling: str = "none"
    rope_factor: float = 1.0
    rope_low_frequency: float = 1.0
    rope_high_frequency: float = 4.0
    rope_original_length: int = 8192
    norm_epsilon: float = 1e-5
    embedding_std: float = 0.02
    lora_rank: int = 0
    lora_alpha: float = 16.0
    remat: bool = False
    unroll: int = 1
    dtype: DTypeLike = jnp.float32
    quantisation: str = "none"
    quantisation_block: int = 64
    stacked: bool = True
    turned: bool = False

    def setup(self) -> None:
        """Declares the layers; shapes are those of `LlamaForCausalLM`, kernels transposed."""
        self.embedding = self.param(
            "embedding",
            nn.initializers.normal(self.embedding_std),
            (self.vocabulary, self.width),
        )
        block = LlamaBlock
        if self.remat:
            static = () if self.stacked else (_LAST_ONLY,)
            block = nn.remat(block, prevent_cse=False, static_argnums=static)
        settings = (
            self.heads, self.kv_heads, self.key_width, self.mlp_width, self.norm_epsilon,
            self.lora_rank, self.lora_alpha, self.dtype,
            Storage(self.quantisation, self.quantisation_block, self.turned),
        )  # fmt: skip
        if self.stacked:
            scan = nn.scan(
                block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(nn.broadcast, nn.broadcast, 0),
                length=self.layers,
                unroll=self.unroll,
            )
            self.blocks = scan(*settings, name="layers")
        else:
            self.blocks = [block(*settings, name=f"layer_{i}") for i in range(self.layers)]
        self.norm = RMSNorm(self.norm_epsilon, self.dtype)
        if not self.tied:
            self.lm_head = self.param(
                "lm_head", nn.initializers.lecun_normal(), (self.width, self.vocabulary)
            )

    @property
    def key_width(self) -> int:
        """K, the width of a head."""
        return self.head_width or self.width // self.heads

    def embed(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch D"]:
        """Token embeddings."""
        x = self.embedding[ids].astype(self.dtype)
        return constrain(x, BATCH, *(None,) * ids.ndim)

    def vocabulary_kernel(self) -> Float[Array, "D V"]:
        """The projection to logits; losses and the sampler apply it themselves."""
        kernel = self.embedding.T if self.tied else self.lm_head
        return constrain(kernel.astype(self.dtype), None, None)

    def __call__(
        self,
        x: Float[Array, "B G T D"],
        positions: Int[Array, "B G T"],
        mask: Bool[Array, "B G T"],
        past: tuple[Segment, ...] = (),
        *,
        last_only: bool = False,
        step: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B G _ D"], Segment]:
        """Hidden states after the last norm, and the keys and values of the tokens in `x`.

        Args:
          x: embedded tokens, of any dtype.
          positions: rotary positions, counted without padding.
          mask: false for padding; padding is never attended to.
          past: segments that every token of `x` may attend to.
          last_only: gives the hidden state of the last token alone, [B, G, 1, D]; layers that are
            not stacked then leave out what the last of them need not compute.
          step: where in the last segment of `past` the one token of `x` belongs. What is returned
            is then that segment with its keys and values.

        Raises:
          UserError: a `rope_scaling` that there is not.
        """
        causal = jnp.tril(jnp.ones((x.shape[2], x.shape[2]), bool))
        masks = [segment.mask[:, :, None, :] for segment in past]
        masks.append(causal[None, None] & mask[:, :, None, :])
        if step is not None:
            mask = past[-1].mask.at[:, :, step].set(mask[..., 0])
        scaling = RotaryScaling(
            self.rope_scaling, self.rope_factor, self.rope_low_frequency,
            self.rope_high_frequency, self.rope_original_length,
        )  # fmt: skip
        angles = rotary_angles(positions, self.key_width, self.rope_base, scaling)
        rotation = Rotation.by(angles)
        layer_past = tuple((segment.keys, segment.values) for segment in past)
        through = self._scanned if self.stacked else self._one_by_one
        x, keys, values = through(
            x.astype(self.dtype), rotation, tuple(masks), layer_past, last_only=last_only, step=step
        )
        return self.norm(x), Segment(keys, values, mask)

    @nn.nowrap  # no scope of its own in names of operations
    def _scanned(
        self, x: Array, *context: Any, last_only: bool, step: Array | None
    ) -> tuple[Array, Any, Any]:
        x, (keys, values) = self.blocks(x, *context)
        if step is not None:
            *_, past = context
            keys, values = written(past[-1], (keys, values), step)
        return x[:, :, -1:] if last_only else x, keys, values

    @nn.nowrap
    def _one_by_one(
        self,
        x: Array,
        rotation: Rotation,
        masks: Any,
        past: Any,
        *,
        last_only: bool,
        step: Array | None,
    ) -> tuple[Array, Any, Any]:
        found = []
        if step is not None:  # a token is written into its segment, then read from there
            *masks, before, new = masks
            masks = (*masks, before.at[..., step].set(new[..., 0]))
        for index, block in enumerate(self.blocks):
            own = tuple((keys[index], values[index]) for keys, values in past)
            only = last_only and index == self.layers - 1
            x, segment = block(x, rotation, masks, own, only, step)
            found.append(segment)
        return x, *zip(*found, strict=True)


class LlamaBlock(nn.Module):
    """One layer; a scan body over stacked parameters and per-layer past keys and values."""

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
        past: tuple[tuple[Array, Array], ...],
        last_only: bool = False,
        step: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B G _ D"], tuple[Array, Array]]:
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
        if last_only:
            x, y, rotation, masks = jax.tree.map(lambda a: a[:, :, -1:], (x, y, rotation, masks))
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
    past: tuple[Array, Array], new: tuple[Array, Array], step: Int[Array, ""]
) -> tuple[Array, Array]:
    """Keys [..., K, S] and values [..., S, K] of which those at `step` are the `new` token's.

    Example: `written((jnp.zeros((1, 3)), jnp.zeros((3, 1))), (jnp.ones((1, 1)),) * 2, 2)` is
      [[0, 0, 1]] and [[0], [0], [1]].
    """
    write = jax.lax.dynamic_update_slice_in_dim
    (keys, values), (new_keys, new_values) = past, new
    return (
        write(keys, new_keys, step, axis=keys.ndim - 1),
        write(values, new_values, step, axis=values.ndim - 2),
    )


def _as_stored(past: Array) -> Array:
    """A layer's part of a cache [B, C, G or 1, ., .] in the order of its memory.

    A GPU is else free to choose, and turns round the whole cache before each loop over the layers:
    a second cache, written anew for each token. A CPU else writes a token twice, once into a copy
    of the cache for each of what reads it.
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
    """Keys or values in the order of a `Segment`."""
    return constrain(x.transpose(order), BATCH, "tensor", None, None, None)


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
