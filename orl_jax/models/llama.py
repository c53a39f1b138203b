"""LLaMA (arXiv 2302.13971, 2307.09288; `LlamaForCausalLM` of transformers is the reference).

RMSNorm, rotary positions (rotate-half), SwiGLU, grouped-query attention, LoRA on all seven
projections. One forward pass serves prefill, decoding and training: tokens [B, G, T] attend to
themselves causally and to any number of past segments of keys and values. A segment with group axis
1 is shared by the G responses of a prompt, so the prompt is computed and stored once.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from orl_jax.models.dense import Storage
from orl_jax.models.layers import one_by_one, split_layers
from orl_jax.models.llama_block import LlamaBlock, RMSNorm, written
from orl_jax.models.rotary import RotaryScaling, Rotation, rotary_angles
from orl_jax.models.sharding.constrain import constrain
from orl_jax.models.sharding.mesh import BATCH


class Segment(NamedTuple):
    """Keys and values of past tokens in every layer (N layers, C key-value heads of width K).

    The group axis is G, or 1 where the group shares the segment. Heads come before it, and keys
    have their width before the tokens, so that matrix products read them in memory order. Where
    layers are unrolled (`Llama.unroll`), keys and values are tuples of N arrays.
    """

    keys: Float[Array, "N B C G K S"] | tuple[Float[Array, "B C G K S"], ...]
    values: Float[Array, "N B C G S K"] | tuple[Float[Array, "B C G S K"], ...]
    mask: Bool[Array, "B G S"]


class Llama(nn.Module):
    """A decoder without its embedding lookup: hidden states in, hidden states out.

    Parameters of the layers are stacked on a leading axis. `heads` must be a multiple of
    `kv_heads`; `embedding_std` is of fresh embeddings.

    Attributes:
      unroll: layers at a time in the loop over them. A loop compiles fast and needs little memory
        for many layers; a few small ones run faster all unrolled, see `orl_jax.models.layers`.
      head_width: K; 0 is width / heads.
      tied: the projection to logits is the embedding, transposed; no parameter `lm_head` then.
      rope_scaling, rope_factor, rope_low_frequency, rope_high_frequency, rope_original_length: see
        `RotaryScaling`.
      dtype: of the computation, "float32" or "bfloat16"; parameters, norms, rotations and the
        softmax are always float32.
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

    def setup(self) -> None:
        """Declares the layers; shapes are those of `LlamaForCausalLM`, kernels transposed."""
        self.embedding = self.param(
            "embedding",
            nn.initializers.normal(self.embedding_std),
            (self.vocabulary, self.width),
        )
        # Parameters are declared and drawn in a loop, also where layers run one by one.
        loop = nn.scan(
            nn.remat(LlamaBlock, prevent_cse=False) if self.remat else LlamaBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, 0),
            length=self.layers,
            unroll=self.unroll,
        )
        self.loop = loop(*self._of_layer, name="layers")
        self.norm = RMSNorm(self.norm_epsilon, self.dtype)
        if not self.tied:
            self.lm_head = self.param(
                "lm_head", nn.initializers.lecun_normal(), (self.width, self.vocabulary)
            )

    @property
    def _of_layer(self) -> tuple[Any, ...]:
        """The fields of a `LlamaBlock`."""
        return (
            self.heads, self.kv_heads, self.key_width, self.mlp_width, self.norm_epsilon,
            self.lora_rank, self.lora_alpha, self.dtype,
            Storage(self.quantisation, self.quantisation_block),
        )  # fmt: skip

    @property
    def unrolled(self) -> bool:
        """Whether layers run one by one."""
        return self.unroll >= self.layers

    @property
    def key_width(self) -> int:
        """K, the width of a head."""
        return self.head_width or self.width // self.heads

    def embed(self, ids: Int[Array, "*batch"]) -> Float[Array, "*batch D"]:
        """Token embeddings."""
        x = self.embedding[ids].astype(self.dtype)
        return constrain(x, BATCH, *(None,) * ids.ndim)

    def vocabulary_kernel(self) -> Float[Array, "D V"]:
        """The projection to logits, which losses and the sampler apply themselves."""
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
          last_only: returns only the hidden state of the last token, [B, G, 1, D]; unrolled layers
            then skip the others in the last layer.
          step: the position in the last segment of `past` at which to write the one token of `x`;
            that segment, with its keys and values, is then returned.

        Raises:
          UserError: an unknown `rope_scaling`.
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
        inputs = (
            x.astype(self.dtype), rotation, tuple(masks),
            tuple((segment.keys, segment.values) for segment in past),
        )  # fmt: skip
        if self.unrolled and not self.is_initializing():
            block = LlamaBlock(*self._of_layer, parent=None)
            layers = split_layers(self.variables["params"]["layers"], self.layers)
            x, (keys, values) = one_by_one(
                block, layers, *inputs, remat=self.remat, last_only=last_only, step=step
            )
        else:
            x, (keys, values) = self.loop(*inputs)
            if step is not None:
                keys, values = written(inputs[-1][-1], (keys, values), step)
            x = x[:, :, -1:] if last_only else x
        return self.norm(x), Segment(keys, values, mask)
