"""The Q-Former adapter: learned queries that read the video, then two linear layers.

BLIP-2's (arXiv 2301.12597; `Blip2QFormerModel` of transformers is the reference): BERT-style
post-LayerNorm layers over the queries only, cross-attention to the frozen features in every
`cross_frequency`-th layer. Deviations, each with a field that undoes it: a learned time embedding
is added to the features of each frame (BLIP-2 reads single images; without it the queries could not
tell frames apart); features are normalised here (BLIP-2 reads its encoder's last norm); and the
GELU between the two linear layers (BLIP-2 has one layer) is the tanh approximation.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from orl_jax.models.dense import ROWS, Dense, Storage
from orl_jax.models.vision import Attention


class QFormerAdapter(nn.Module):
    """Video features to visual tokens: [B, F, P, E] -> [B, queries, language_width].

    `layers` must be a multiple of `cross_frequency`; the first layer of each run of
    `cross_frequency` has cross-attention, as in BLIP-2. `frames` is the number of time embeddings.
    The features may have another width than the Q-Former.

    Attributes:
      norm_epsilon: of the Q-Former's LayerNorms.
      time_embedding: False has no such parameter.
      feature_norm: a LayerNorm (epsilon 1e-5) of the features; False has no such parameters.
      exact_gelu: whether the GELU between the two linear layers is the exact one, with erf, as
        torch's `nn.GELU()`; inside the Q-Former it always is.
      dtype: of the computation, "float32" or "bfloat16"; parameters are always float32.
      quantisation, quantisation_block: of all kernels; see `Storage`.
    """

    queries: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    frames: int
    language_width: int
    cross_frequency: int = 2
    norm_epsilon: float = 1e-12
    time_embedding: bool = True
    feature_norm: bool = True
    exact_gelu: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    quantisation: str = "none"
    quantisation_block: int = 64

    @property
    def visual_tokens(self) -> int:
        """Number of tokens that a video takes in the prompt."""
        return self.queries

    @nn.compact
    def __call__(self, features: Float[Array, "B F P E"]) -> Float[Array, "B Q D"]:
        storage = Storage(self.quantisation, self.quantisation_block)
        x = QFormer(
            self.queries, self.width, self.layers, self.heads, self.mlp_width,
            self.cross_frequency, self.remat, self.dtype, self.norm_epsilon, storage,
            name="qformer",
        )(self._source(features))  # fmt: skip
        x = Dense(self.language_width, storage, self.dtype, name="project_in")(x)
        x = nn.gelu(x, approximate=not self.exact_gelu)
        return Dense(self.language_width, storage, self.dtype, ROWS, name="project_out")(x)

    def _source(self, features: Float[Array, "B F P E"]) -> Float[Array, "B S E"]:
        batch, frames, patches, width = features.shape
        if self.time_embedding:
            time = self.param("time_embedding", nn.initializers.normal(1.0), (self.frames, width))
        if self.feature_norm:
            features = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="feature_norm")(features)
        features = features.astype(self.dtype)
        if self.time_embedding:
            features = features + time[:frames, None].astype(self.dtype)
        return features.reshape(batch, frames * patches, width)


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
    norm_epsilon: float = 1e-12
    storage: Storage = Storage()

    @nn.compact
    def __call__(self, source: Float[Array, "B S E"]) -> Float[Array, "B Q W"]:
        queries = self.param("queries", nn.initializers.normal(1.0), (self.queries, self.width))
        x = jnp.broadcast_to(queries.astype(self.dtype), (source.shape[0], *queries.shape))
        x = nn.LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name="norm")(x)
        block = nn.remat(QFormerBlock, prevent_cse=False) if self.remat else QFormerBlock
        stack = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.layers // self.cross_frequency,
        )
        x, _ = stack(
            self.heads, self.mlp_width, self.cross_frequency, self.norm_epsilon, self.dtype,
            self.storage, name="layers",
        )(x, source)  # fmt: skip
        return x


class QFormerBlock(nn.Module):
    """A layer with cross-attention and `cross_frequency - 1` layers without. A scan body."""

    heads: int
    mlp_width: int
    cross_frequency: int
    norm_epsilon: float
    dtype: DTypeLike
    storage: Storage = Storage()

    @nn.compact
    def __call__(
        self, x: Float[Array, "B Q W"], source: Float[Array, "B S E"]
    ) -> tuple[Float[Array, "B Q W"], None]:
        for index in range(self.cross_frequency):
            x = self._attend(x, x, f"self_{index}")
            if index == 0:
                x = self._attend(x, source, "cross")
            y = Dense(self.mlp_width, self.storage, self.dtype, name=f"up_{index}")(x)
            y = jax.nn.gelu(y, approximate=False)
            y = Dense(x.shape[-1], self.storage, self.dtype, ROWS, name=f"down_{index}")(y)
            x = self._norm(f"mlp_norm_{index}", x + y)
        return x, None

    def _attend(
        self, x: Float[Array, "B Q W"], source: Float[Array, "B S E"], name: str
    ) -> Float[Array, "B Q W"]:
        attention = Attention(self.heads, self.dtype, self.storage, name=f"{name}_attention")
        y = attention(x, source)
        return self._norm(f"{name}_norm", x + y)

    def _norm(self, name: str, x: Float[Array, "B Q W"]) -> Float[Array, "B Q W"]:
        return nn.LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name=name)(x)
