"""The Q-Former adapter: learned queries that read the video, then two linear layers.

BLIP-2's (arXiv 2301.12597; `Blip2QFormerModel` of transformers is the reference): BERT-style
post-LayerNorm layers over the queries alone, cross-attention to the frozen features in every
`cross_frequency`-th layer. Deviation: a learned time embedding is added to the features of each
frame (BLIP-2 reads pictures, and without it the queries could not tell frames apart).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from orl_jax.models.vision import Attention


class QFormerAdapter(nn.Module):
    """Video features to visual tokens: [B, F, P, E] -> [B, queries, language_width].

    `layers` must be a multiple of `cross_frequency`; the first layer of each run of
    `cross_frequency` has cross-attention, as in BLIP-2. `frames` is the number of time embeddings.
    """

    queries: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    frames: int
    language_width: int
    cross_frequency: int = 2
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def visual_tokens(self) -> int:
        """Number of tokens that a video takes in the prompt."""
        return self.queries

    @nn.compact
    def __call__(self, features: Float[Array, "B F P E"]) -> Float[Array, "B Q D"]:
        batch, frames, patches, feature_width = features.shape
        time = self.param(
            "time_embedding", nn.initializers.normal(1.0), (self.frames, feature_width)
        )
        features = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="feature_norm")(features)
        features = features + time[:frames, None].astype(self.dtype)
        source = features.reshape(batch, frames * patches, feature_width)
        x = QFormer(
            self.queries, self.width, self.layers, self.heads, self.mlp_width,
            self.cross_frequency, self.remat, self.dtype, name="qformer",
        )(source)  # fmt: skip
        x = nn.gelu(nn.Dense(self.language_width, dtype=self.dtype, name="project_in")(x))
        return nn.Dense(self.language_width, dtype=self.dtype, name="project_out")(x)


class QFormer(nn.Module):
    """Learned queries over a source [B, S, E] -> [B, queries, width]."""

    queries: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    cross_frequency: int
    remat: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, source: Float[Array, "B S E"]) -> Float[Array, "B Q W"]:
        queries = self.param("queries", nn.initializers.normal(1.0), (self.queries, self.width))
        x = jnp.broadcast_to(queries.astype(self.dtype), (source.shape[0], *queries.shape))
        x = _norm(self.dtype, "norm")(x)
        block = nn.remat(QFormerBlock, prevent_cse=False) if self.remat else QFormerBlock
        stack = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.layers // self.cross_frequency,
        )
        x, _ = stack(self.heads, self.mlp_width, self.cross_frequency, self.dtype, name="layers")(
            x, source
        )
        return x


class QFormerBlock(nn.Module):
    """A layer with cross-attention and `cross_frequency - 1` layers without. A scan body."""

    heads: int
    mlp_width: int
    cross_frequency: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "B Q W"], source: Float[Array, "B S E"]
    ) -> tuple[Float[Array, "B Q W"], None]:
        for index in range(self.cross_frequency):
            x = self._attend(x, x, f"self_{index}")
            if index == 0:
                x = self._attend(x, source, "cross")
            y = jax.nn.gelu(
                nn.Dense(self.mlp_width, dtype=self.dtype, name=f"up_{index}")(x),
                approximate=False,
            )
            y = nn.Dense(x.shape[-1], dtype=self.dtype, name=f"down_{index}")(y)
            x = _norm(self.dtype, f"mlp_norm_{index}")(x + y)
        return x, None

    def _attend(self, x: Array, source: Array, name: str) -> Array:
        y = Attention(self.heads, self.dtype, name=f"{name}_attention")(x, source)
        return _norm(self.dtype, f"{name}_norm")(x + y)


def _norm(dtype: DTypeLike, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-12, dtype=dtype, name=name)
