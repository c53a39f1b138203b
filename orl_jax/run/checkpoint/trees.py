"""The trees that Orbax is given when it restores: of a state's structure, without its memory."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

Placement = Callable[[str, tuple[int, ...]], jax.sharding.Sharding]


def abstract(leaf: Any) -> Any:
    """Shape, type and place of a leaf; Python numbers and numpy arrays stay as they are."""
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return leaf
    place = leaf.sharding or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def host_placeholder(leaf: Any) -> Any:
    """A numpy array of the stored shape and type, without its memory; a number for a number.

    So a state can be read on any number of devices.
    """
    if isinstance(leaf, ocp.metadata.ScalarMetadata):
        return leaf.dtype.type(0).item()
    return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)


def how_to_restore(place: Placement | None, path: tuple[Any, ...], leaf: Any) -> ocp.RestoreArgs:
    """Onto the host, or where `place` has it by its path within the entry, `path[1:]`."""
    if place is None or not isinstance(leaf, np.ndarray):
        return ocp.RestoreArgs(restore_type=np.ndarray)
    inner = "/".join(key.key for key in path[1:])
    return ocp.ArrayRestoreArgs(sharding=place(inner, leaf.shape))
