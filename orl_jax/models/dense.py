"""A dense layer whose kernel may be stored quantised."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from orl_jax.models.quantised import quantise, quantised_matmul
from orl_jax.models.sharding.constrain import constrain

# Which axis of a kernel, of its codes and of its scales stays sharded while it is used (see
# `orl_jax.models.sharding.rules`); over "fsdp" it is gathered.
COLUMNS = (None, "tensor")
ROWS = ("tensor", None)


class Storage(NamedTuple):
    """How the kernels of a module are stored.

    Attributes:
      quantisation: none | nf4 | int8; quantised kernels cannot be trained.
      block: rows of a kernel that share a scale; must divide them.
    """

    quantisation: str = "none"
    block: int = 64


class Dense(nn.Module):
    """`y = x W + b`.

    Parameters: `kernel` [D_in, D_out] or, quantised, `codes` and `scales` (see
    `orl_jax.models.quantised`); `bias` [D_out].

    Example: `Dense(64, Storage("nf4")).init(key, x)["params"]["codes"].dtype == jnp.uint8`.
    """

    features: int
    storage: Storage = Storage()
    dtype: DTypeLike = jnp.float32
    split: tuple = COLUMNS

    @nn.compact
    def __call__(self, x: Float[Array, "... D_in"]) -> Float[Array, "... D_out"]:
        y = product(self, x.astype(self.dtype), self.features, self.storage, self.split)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return y + bias.astype(self.dtype)


def product(
    module: nn.Module,
    x: Float[Array, "... D_in"],
    features: int,
    storage: Storage,
    split: tuple,
) -> Float[Array, "... D_out"]:
    """`x W` in the type of `x`; declares the kernel as a parameter of `module`."""
    shape, draw = (x.shape[-1], features), nn.initializers.lecun_normal()
    if module.has_variable("params", "transposed"):  # see `orl_jax.models.decoding_form`
        kernel = module.param("transposed", draw, shape[::-1])
        kernel = constrain(kernel.astype(x.dtype), *split[::-1])
        return jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (1,)), ((), ())))
    if storage.quantisation == "none":
        kernel = module.param("kernel", draw, shape)
        return x @ constrain(kernel.astype(x.dtype), *split)
    # Both parts come from one draw. Outside `init` only their shapes are needed.
    key = module.make_rng("params") if module.is_initializing() else jax.random.key(0)
    codes, scales = (
        module.param(name, lambda _, name=name: quantise(draw(key, shape), *storage)[name])
        for name in ("codes", "scales")
    )
    return quantised_matmul(x, constrain(codes, *split), constrain(scales, *split))
