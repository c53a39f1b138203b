"""The roofline: a lower bound of each stage's time, from peak rates measured in the same run.

The bound of a stage is max(operations / matrix rate, bytes / bandwidth). Operations are those of
its matrix products. Bytes are the least that must move: each argument read once, each result that
does not reuse an argument's memory written once. The bound therefore never exceeds the time, apart
from noise, and their ratio shows how much a perfect program could still gain.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from orl_jax.performance.benchmark.timing import timed

# Side of the matrices, elements of the copy: large enough to reach the peak, small enough to be
# quick.
_SIZES = {"cpu": (2048, 2**26)}
_LARGE = (8192, 2**29)


class Peak(NamedTuple):
    """Peak rates of one device.

    Attributes:
      flops: operations per second of a large matrix product.
      bandwidth: bytes per second, read and written, of a large copy.
    """

    flops: float
    bandwidth: float


class Cost(NamedTuple):
    """What a program needs, over all devices.

    Attributes:
      flops: operations of matrix products.
      bytes: the least that must move.
    """

    flops: float
    bytes: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, calls: int) -> "Cost":
        """The cost of `calls` calls."""
        return Cost(self.flops * calls, self.bytes * calls)


def measure_peak(dtype: DTypeLike, repeats: int = 5) -> Peak:
    """The best of several runs on the first device.

    Args:
      dtype: of the matrices; the model's.

    Example: `measure_peak("float32").flops`.
    """
    side, numbers = _SIZES.get(jax.default_backend(), _LARGE)
    matrix, row = jnp.ones((side, side), dtype), jnp.ones(numbers, jnp.float32)
    product, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)
    matrix_seconds = timed(lambda: product(matrix, matrix), repeats).best
    copy_seconds = timed(lambda: copy(row), repeats).best
    return Peak(2 * side**3 / matrix_seconds, 2 * row.nbytes / copy_seconds)


def bound(cost: Cost, peak: Peak, devices: int = 1) -> float:
    """A lower bound of a program's time, in seconds.

    Example: `bound(Cost(10, 4), Peak(5, 1)) == 4`.
    """
    return max(cost.flops / peak.flops, cost.bytes / peak.bandwidth) / devices
