"""CLIP's vision transformer (arXiv 2103.00020; `CLIPVisionModel` of transformers is the reference).

Class token, pre-LayerNorm, quick-GELU (OpenAI's weights) or GELU (LAION's). As in LLaVA, features
are the patch tokens of one hidden layer (`select_layer` -2: the input of the last layer); layers
above it are never built.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from orl_jax.models.dense import ROWS, Dense, Storage
from orl_jax.models.sharding.constrain import constrain
from orl_jax.models.sharding.mesh import BATCH
from orl_jax.run.errors import UserError

# Channel means and standard deviations of CLIP's training images, as shares of full intensity.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def normalise(frames: UInt8[Array, "... H W 3"]) -> Float[Array, "... H W 3"]:
    """Pixels in 0..255, normalised per channel to CLIP's zero mean and unit deviation."""
    return (frames.astype(jnp.float32) / 255.0 - jnp.array(MEAN)) / jnp.array(STD)


def quick_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """OpenAI's approximation of GELU, `x * sigmoid(1.702 x)`."""
    return x * jax.nn.sigmoid(1.702 * x)


# By their names in `transformers`; "gelu" is the exact one, with erf.
ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": partial(jax.nn.gelu, approximate=False)}


class ClipVision(nn.Module):
    """Images to patch features: float [N, H, W, 3] (see `normalise`) -> [N, P, width].

    P = (image_size / patch_size)². Parameters of the layers are stacked on a leading axis.

    Attributes:
      activation: quick_gelu | gelu.
      norm_epsilon: of all LayerNorms.
      dtype: of the computation, "float32" or "bfloat16"; parameters are always float32.
      quantisation, quantisation_block: of the layers' kernels; see `Storage`.
      frames_at_a_time: frames of each video that `VLM.encode` takes at once, to save memory; must
        divide the number of frames; 0 is all.
    """

    width: int
    layers: int
    heads: int
    mlp_width: int
    patch_size: int
    image_size: int
    select_layer: int = -2
    activation: str = "quick_gelu"
    norm_epsilon: float = 1e-5
    remat: bool = False
    unroll: int = 1
    dtype: DTypeLike = jnp.float32
    quantisation: str = "none"
    quantisation_block: int = 64
    frames_at_a_time: int = 0

    @property
    def patches(self) -> int:
        """Number of patch tokens of one image."""
        return (self.image_size // self.patch_size) ** 2

    @nn.compact
    def __call__(self, images: Float[Array, "N H W 3"]) -> Float[Array, "N P D"]:
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f"the activation of CLIP is {self.activation!r}; choose one of "
                f"{', '.join(ACTIVATIONS)}"
            )
        x = self._patch_embedding(images.astype(self.dtype))
        class_token = self.param(
            "class_embedding", nn.initializers.normal(self.width**-0.5), (self.width,)
        )
        class_token = jnp.broadcast_to(class_token.astype(self.dtype), (x.shape[0], 1, self.width))
        x = jnp.concatenate([class_token, x], axis=1)
        positions = self.param(
            "position_embedding",
            nn.initializers.normal(self.width**-0.5),
            (self.patches + 1, self.width),
        )
        x = nn.LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="pre_norm")(
            x + positions.astype(self.dtype)
        )
        block = nn.remat(VisionBlock, prevent_cse=False) if self.remat else VisionBlock
        stack = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.layers + 1 + self.select_layer,
            unroll=self.unroll,
        )
        x, _ = stack(
            self.heads, self.mlp_width, self.activation, self.norm_epsilon, self.dtype,
            Storage(self.quantisation, self.quantisation_block), name="layers",
        )(x, None)  # fmt: skip
        return x[:, 1:]

    def _patch_embedding(self, images: Float[Array, "N H W 3"]) -> Float[Array, "N P D"]:
        count, size, patch = images.shape[0], self.image_size, self.patch_size
        side = size // patch
        x = images.reshape(count, side, patch, side, patch, 3)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(count, side * side, patch * patch * 3)
        return nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="patch_embedding")(x)


class VisionBlock(nn.Module):
    """One pre-LayerNorm transformer layer. Takes and returns a scan carry."""

    heads: int
    mlp_width: int
    activation: str
    norm_epsilon: float
    dtype: DTypeLike
    storage: Storage = Storage()

    @nn.compact
    def __call__(self, x: Float[Array, "N S D"], _: None) -> tuple[Float[Array, "N S D"], None]:
        norm = partial(nn.LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        y = norm(name="attention_norm")(x)
        x = x + Attention(self.heads, self.dtype, self.storage, name="attention")(y, y)
        dense = partial(Dense, storage=self.storage, dtype=self.dtype)
        y = dense(self.mlp_width, name="up")(norm(name="mlp_norm")(x))
        y = ACTIVATIONS[self.activation](y)
        x = x + dense(x.shape[-1], split=ROWS, name="down")(y)
        return constrain(x, BATCH, None, None), None


class Attention(nn.Module):
    """Bidirectional multi-head attention with biases; queries [N, S, D] over keys [N, R, E]."""

    heads: int
    dtype: DTypeLike
    storage: Storage = Storage()

    @nn.compact
    def __call__(
        self, x: Float[Array, "N S D"], source: Float[Array, "N R E"]
    ) -> Float[Array, "N S D"]:
        width = x.shape[-1]
        dense = partial(Dense, width, self.storage, self.dtype)

        def heads(name: str, values: Array) -> Array:
            y = dense(name=name)(values)
            return y.reshape(*y.shape[:-1], self.heads, width // self.heads)

        y = jax.nn.dot_product_attention(heads("q", x), heads("k", source), heads("v", source))
        return dense(name="out", split=ROWS)(y.reshape(x.shape))
