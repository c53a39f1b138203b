"""A mesh and where arrays live on it: parameters, optimiser states, rows of batches, whole arrays.

All stages put their arrays on the devices through a `Layout`, and jit their functions through it.
On one device it does what `jax.device_put` and `jax.jit` do.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from orl_jax.models.sharding.mesh import BATCH, make_mesh
from orl_jax.models.sharding.program import Program
from orl_jax.models.sharding.rules import specification
from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class Layout:
    """See the module. `Layout.of({"data": -1, "tensor": 2})` makes one.

    Attributes:
      mesh: of all devices of all processes.
    """

    mesh: Mesh

    @classmethod
    def of(cls, sizes: Mapping[str, int] | None = None) -> "Layout":
        """Of the sizes of the mesh's axes, see `make_mesh`; by default all devices are along
        `data`.
        """
        return cls(make_mesh({"data": -1} if sizes is None else sizes))

    @property
    def whole(self) -> NamedSharding:
        """The sharding of an array that every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch(self) -> NamedSharding:
        """The sharding of an array [B, ...] by its rows; a row, with its group, stays together."""
        return NamedSharding(self.mesh, PartitionSpec(BATCH))

    @property
    def row_devices(self) -> int:
        """Number of shards of the rows of a batch."""
        return math.prod(self.mesh.shape[axis] for axis in BATCH)

    def param(self, path: str, shape: tuple[int, ...]) -> NamedSharding:
        """The sharding of one parameter.

        Raises:
          UserError: no rule covers it.
        """
        return NamedSharding(self.mesh, specification(path, shape, self.mesh))

    def params(self, tree: Any) -> Any:
        """The shardings of nested parameters (or their shapes)."""
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: self.param(_name(path), leaf.shape), tree
        )

    def optimizer_state(self, optimizer: optax.GradientTransformation, params: Any) -> Any:
        """The shardings of an optimiser's state: moments are sharded like their parameters."""
        return optax.tree.map_params(
            optimizer,
            lambda _, sharding: sharding,
            jax.eval_shape(optimizer.init, params),
            self.params(params),
            transform_non_params=lambda _: self.whole,
        )

    def rows(self, tree: Any) -> Any:
        """Host arrays [rows of this process, ...] as arrays of the whole batch.

        Raises:
          UserError: the rows do not divide evenly over the devices.
        """
        return jax.tree.map(self._rows, tree)

    def replicate(self, tree: Any) -> Any:
        """Host arrays, the same in every process, on every device."""
        return jax.device_put(tree, self.whole)

    def place(self, params: Any) -> Any:
        """Moves nested parameters, from the host or anywhere, to where they live."""
        return jax.device_put(params, self.params(params))

    def local_rows(self, tree: Any) -> Any:
        """Arrays of the whole batch as host arrays of this process's rows: undoes `rows`."""
        return jax.tree.map(_local_rows, tree)

    def jit(self, function: Callable[..., Any], **options: Any) -> Program:
        """`jax.jit` with the mesh set, which `constrain` reads; a stop does not wait for it.

        A `functools.partial` is traced and compiled once for equal settings, however often it is
        made: a second run in the same process starts at once.

        Args:
          function: a `partial` of a named function with hashable settings, or any function.
          options: of `jax.jit`.

        Example: `layout.jit(partial(encode, model), out_shardings=layout.batch)`.
        """
        if not isinstance(function, functools.partial):
            return Program(function, self.mesh, **options)
        leaves, structure = jax.tree.flatten(options)
        settings = (function.func, function.args, tuple(function.keywords.items()))
        return _jit_once(self.mesh, *settings, tuple(leaves), structure)

    def check_rows(self, key: str, rows: int) -> None:
        """Refuses a number of rows that does not divide evenly over the devices.

        Args:
          key: the config key that sets it.

        Raises:
          UserError: names the key, the value and the nearest numbers that work.
        """
        parts = self.row_devices
        if rows % parts:
            below = rows // parts * parts
            some = f"{below} or {below + parts}" if below else f"{parts}"
            raise UserError(
                f"config.{key} is {rows}, which does not divide over {parts} devices (mesh.data x "
                f"mesh.fsdp); choose {some}"
            )

    def _rows(self, array: np.ndarray) -> jax.Array:
        rows, parts = len(array) * jax.process_count(), self.row_devices
        if rows % parts:
            raise UserError(
                f"a batch of {rows} rows does not divide over {parts} devices (mesh.data x "
                "mesh.fsdp); choose a batch size that does, or fewer devices along them"
            )
        if jax.process_count() == 1:
            return jax.device_put(np.asarray(array), self.batch)
        shape, first = (rows, *array.shape[1:]), len(array) * jax.process_index()
        parts = [
            jax.device_put(array[index[0].start - first : index[0].stop - first], device)
            for device, index in self.batch.addressable_devices_indices_map(shape).items()
        ]
        return jax.make_array_from_single_device_arrays(shape, self.batch, parts)


@functools.lru_cache(maxsize=32)
def _jit_once(
    mesh: Mesh,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    keywords: tuple[tuple[str, Any], ...],
    leaves: tuple[Any, ...],
    structure: jax.tree_util.PyTreeDef,
) -> Program:
    fixed = functools.partial(function, *args, **dict(keywords))
    return Program(fixed, mesh, **jax.tree.unflatten(structure, leaves))


def _local_rows(array: jax.Array) -> np.ndarray:
    if array.is_fully_addressable:
        return jax.device_get(array)
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate(jax.device_get([parts[start] for start in sorted(parts)]))


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(key.key for key in path)
