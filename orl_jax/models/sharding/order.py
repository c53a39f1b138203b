"""Pins the memory order of an array inside a jitted function, where XLA would choose badly."""

from typing import Any

import jax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import PartitionSpec
from jaxtyping import Array

from orl_jax.models.sharding.rules import fitting


def row_major(x: Array, *axes: Any) -> Array:
    """`x`, stored in the order of its dimensions, the last one contiguous.

    Args:
      axes: how `x` is sharded over the mesh, as for `constrain`; XLA cannot partition the layout
        constraint and would otherwise gather all of `x`.

    Example: `row_major(keys, BATCH, None, None, "tensor", None)`.
    """
    order = Layout(tuple(range(x.ndim)))
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return with_layout_constraint(x, order)
    cut = PartitionSpec(*fitting(axes, x.shape, mesh.shape))
    pin = jax.shard_map(
        lambda part: with_layout_constraint(part, order),
        in_specs=cut, out_specs=cut, check_vma=False,
    )  # fmt: skip
    return pin(x)
