"""Tells XLA inside a jitted function how an array is sharded, where it would guess wrong."""

from typing import Any

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array

from orl_jax.models.sharding.rules import fitting


def constrain(x: Array, *axes: Any) -> Array:
    """`x`, sharded over the axes of the mesh that `Layout.jit` has set; without a mesh just `x`.

    Args:
      axes: for each dimension an axis of the mesh, several, or None; axes that do not divide their
        dimension are dropped.

    Example: `constrain(hidden, BATCH, None, None, None)` keeps the rows of a batch apart.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*fitting(axes, x.shape, mesh.shape)))
