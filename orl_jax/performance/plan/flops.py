"""Floating-point operations of a function, counted in its jaxpr before any device is chosen.

Multiplications of matrices and convolutions alone, 2 for a multiplication and an addition: the rest
is little beside them. XLA's own count takes the body of a loop once; here a scan's counts as often
as it runs. What is recomputed in a backward pass (`jax.checkpoint`) counts again, as it is done
again. Of branches the dearest counts.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


@dataclasses.dataclass(frozen=True, order=True)
class Flops:
    """A count over all devices.

    Attributes:
      count: operations.
      open_loops: whether a loop with an unknown number of turns (`while_loop`) holds some of them,
        which then count once.
    """

    count: int = 0
    open_loops: bool = False

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.count + other.count, self.open_loops or other.open_loops)

    def times(self, turns: int) -> "Flops":
        """The same `turns` times over."""
        return Flops(self.count * turns, self.open_loops)


def count(function: Callable[..., Any], *args: Any) -> Flops:
    """Operations of `function(*args)`; the arguments may be shapes.

    Example: of a product [2, 3] x [3, 5] there are 60.
    """
    return of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def of_jaxpr(jaxpr: Jaxpr) -> Flops:
    """Operations of a jaxpr and of all that it calls."""
    return sum((_of_equation(equation) for equation in jaxpr.eqns), Flops())


def _of_equation(equation: Any) -> Flops:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return Flops(_dot(equation))
    if name == "conv_general_dilated":
        return Flops(_convolution(equation))
    inner = [of_jaxpr(jaxpr) for jaxpr in _jaxprs(params)]
    if name == "cond":
        return max(inner)
    total = sum(inner, Flops())
    if name == "scan":
        return total.times(params["length"])
    if name == "while":
        return Flops(total.count, total.open_loops or total.count > 0)
    if name == "shard_map":  # its jaxpr is of one device
        return total.times(params["mesh"].size)
    return total


def _dot(equation: Any) -> int:
    """2 x rows x columns x what is summed over, for each of a batch."""
    lhs, _ = (variable.aval.shape for variable in equation.invars)
    (contracted, _), _ = equation.params["dimension_numbers"]
    summed = math.prod(lhs[axis] for axis in contracted)
    return 2 * math.prod(equation.outvars[0].aval.shape) * summed


def _convolution(equation: Any) -> int:
    """2 x numbers of the output x numbers of the kernel that make one of them."""
    kernel = equation.invars[1].aval.shape
    features = equation.params["dimension_numbers"].rhs_spec[0]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // kernel[features]


def _jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """Those that an equation calls."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
