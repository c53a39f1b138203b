"""The mesh of devices: axes `data`, `fsdp` and `tensor`, their sizes from the config.

    data    rows of a batch; parameters are whole on every device
    fsdp    also rows of a batch; parameters are sharded, and gathered a layer at a time
    tensor  heads and the MLP's inner width; all devices of the axis work on the same rows

The last axis varies fastest, so a tensor axis consists of neighbours, on one machine.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from orl_jax.run.errors import UserError

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")  # the axes over which the rows of a batch are sharded
CUT = ("fsdp", "tensor")  # the axes over which parameters are sharded


def make_mesh(sizes: Mapping[str, int], devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of all devices.

    Args:
      sizes: number of devices along each of `AXES`; one of them may be -1, which takes the rest. A
        missing axis has size 1.
      devices: by default all devices of all processes.

    Raises:
      UserError: sizes that do not use all devices, two of -1, or a tensor axis that spans several
        processes.

    Example: with 8 devices `make_mesh({"data": -1, "tensor": 2}).shape["data"] == 4`.
    """
    devices = jax.devices() if devices is None else devices
    shape = _fill([sizes.get(axis, 1) for axis in AXES], len(devices))
    mesh = Mesh(np.array(devices, object).reshape(shape), AXES)
    for row in mesh.devices.reshape(-1, shape[-1]):
        if len({device.process_index for device in row}) > 1:
            local = len(devices) // jax.process_count()
            raise UserError(
                f"mesh.tensor is {shape[-1]} and spans more than one process of {local} devices, "
                f"which would read the same rows; choose a divisor of {local}"
            )
    return mesh


def _fill(sizes: list[int], count: int) -> list[int]:
    """Sizes with the -1 replaced; their product is the number of devices."""
    named = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise UserError(
            f"config.mesh is {named}; sizes are 1 or more, and one may be -1, which takes the rest"
        )
    known = math.prod(size for size in sizes if size != -1)
    rest, over = divmod(count, known)
    if over or (rest != 1 and -1 not in sizes):
        raise UserError(
            f"config.mesh is {named}, which takes {known} devices or a multiple; there are {count}."
            f" For example --config.mesh.data=-1 --config.mesh.fsdp=1 --config.mesh.tensor=1"
        )
    return [rest if size == -1 else size for size in sizes]
