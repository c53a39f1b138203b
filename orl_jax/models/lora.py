"""A dense layer with a low-rank adapter (LoRA, arXiv 2106.09685) as an explicit layer."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from orl_jax.models.dense import COLUMNS, Storage, product
from orl_jax.models.sharding.constrain import constrain


class LoRADense(nn.Module):
    """`y = x W + (alpha / rank) (x A) B`; with rank 0 a plain dense layer without bias.

    Parameters: `kernel` [D_in, D_out] (or, quantised, `codes` and `scales`) and, for rank > 0,
    `lora_a` [D_in, rank] (normal, 1/sqrt(D_in)) and `lora_b` [rank, D_out] (zeros), so a fresh
    adapter changes nothing.

    Example: `LoRADense(64, rank=8).init(key, x)["params"]["lora_a"].shape == (D_in, 8)`.
    """

    features: int
    rank: int = 0
    alpha: float = 16.0
    dtype: DTypeLike = jnp.float32
    storage: Storage = Storage()
    split: tuple = COLUMNS

    @nn.compact
    def __call__(self, x: Float[Array, "... D_in"]) -> Float[Array, "... D_out"]:
        width, x = x.shape[-1], x.astype(self.dtype)
        y = product(self, x, self.features, self.storage, self.split)
        if not self.rank:
            return y
        lora_a = self.param("lora_a", nn.initializers.normal(width**-0.5), (width, self.rank))
        lora_b = self.param("lora_b", nn.initializers.zeros, (self.rank, self.features))
        lora_a = constrain(lora_a.astype(self.dtype), self.split[0], None)
        lora_b = constrain(lora_b.astype(self.dtype), None, self.split[1])
        # Scaled where it is narrow; otherwise the gradient is scaled and copied at full width.
        return y + widen((self.alpha / self.rank) * (x @ lora_a), lora_b)


@jax.custom_vjp
def widen(
    x: Float[Array, "*batch rank"], lora_b: Float[Array, "rank D_out"]
) -> Float[Array, "*batch D_out"]:
    """`x B`, with its gradient for B computed as `x^T g`.

    Autodiff computes `(g^T x)^T`, for which XLA first copies the wide `g` in the order of `g^T`.

    Example: `widen(x, b)` equals `x @ b`.
    """
    return x @ lora_b


def _widen(
    x: Float[Array, "*batch rank"], lora_b: Float[Array, "rank D_out"]
) -> tuple[Float[Array, "*batch D_out"], tuple[Array, Array]]:
    return x @ lora_b, (x, lora_b)


def _widen_gradient(
    saved: tuple[Float[Array, "*batch rank"], Float[Array, "rank D_out"]],
    gradient: Float[Array, "*batch D_out"],
) -> tuple[Float[Array, "*batch rank"], Float[Array, "rank D_out"]]:
    x, lora_b = saved
    rows = (x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1]))
    return gradient @ lora_b.T, jax.lax.dot_general(*rows, (((0,), (0,)), ((), ())))


widen.defvjp(_widen, _widen_gradient)
