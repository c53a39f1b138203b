"""Random parameters of typical magnitude, without compiling `init`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def random_params(shapes: Any, seed: int = 0, *, fresh_adapters: bool = False) -> Any:
    """Arrays for nested shapes.

    Args:
      shapes: `jax.ShapeDtypeStruct`s, with or without shardings.
      fresh_adapters: adapters start as in a run, with zeros that change nothing; otherwise they are
        not zero, so that every gradient is non-zero.

    Example: `random_params({"kernel": jax.ShapeDtypeStruct((2, 3), "float32")})["kernel"].shape`.
    """
    rng = np.random.default_rng(seed)

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> jax.Array:
        values = _values(rng, path[-1].key, leaf)
        if fresh_adapters and path[-1].key == "lora_b":
            values = np.zeros_like(values)
        return jax.device_put(values, leaf.sharding)

    return jax.tree_util.tree_map_with_path(of_leaf, shapes)


def _values(rng: np.random.Generator, name: str, leaf: Any) -> np.ndarray:
    """The values of one parameter, by its name."""
    if jnp.issubdtype(leaf.dtype, jnp.integer):  # quantised codes
        limits = jnp.iinfo(leaf.dtype)
        return rng.integers(limits.min, limits.max, leaf.shape, leaf.dtype, endpoint=True)
    if name in ("scale", "bias"):
        return np.full(leaf.shape, name == "scale", leaf.dtype)
    if name == "scales":  # of quantised codes
        return np.full(leaf.shape, 1e-3, leaf.dtype)
    values = rng.standard_normal(leaf.shape, np.float32)
    spread = 0.02 if name in ("embedding", "lora_b") else max(leaf.shape[-2:][0], 1) ** -0.5
    return (spread * values).astype(leaf.dtype)
