"""The adapter of the released baseline checkpoint: an MLP, then mean pooling.

VLM-RLAIF (yonseivnl/vlm-rlaif at 610cac7, `Evaluation/llava/model/llava_arch.py`): `mlp2x_gelu` on
every patch, then one token per frame (mean over patches) and one per patch position (mean over
frames), temporal tokens first. 50 frames of 24x24 patches make 626 tokens.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from orl_jax.models.dense import ROWS, Dense, Storage


class PoolAdapter(nn.Module):
    """Video features to visual tokens: [B, F, P, E] -> [B, F + P, language_width].

    The GELU is the exact one. `dtype` is that of the computation, "float32" or "bfloat16";
    parameters are always float32. `quantisation` and `quantisation_block`: see `Storage`.
    """

    frames: int
    patches: int
    language_width: int
    dtype: DTypeLike = jnp.float32
    quantisation: str = "none"
    quantisation_block: int = 64

    @property
    def visual_tokens(self) -> int:
        """Number of tokens that a video takes in the prompt."""
        return self.frames + self.patches

    @nn.compact
    def __call__(self, features: Float[Array, "B F P E"]) -> Float[Array, "B N D"]:
        storage = Storage(self.quantisation, self.quantisation_block)
        x = Dense(self.language_width, storage, self.dtype, name="project_in")(features)
        x = jax.nn.gelu(x, approximate=False)
        x = Dense(self.language_width, storage, self.dtype, ROWS, name="project_out")(x)
        return jnp.concatenate([x.mean(axis=2), x.mean(axis=1)], axis=1)
