"""Floating-point operations of a function, counted in its jaxpr, independent of any device.

Only matrix products and convolutions count, with 2 operations per multiply-add: the rest is small
in comparison. XLA's own count takes the body of a loop once; here the body of a scan counts as
often as it runs. Recomputation in a backward pass (`jax.checkpoint`) counts again. Of several
branches the most expensive counts.
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
      open_loops: whether some of them are in a loop of unknown length (`while_loop`), whose body
        counts once.
    """

    count: int = 0
    open_loops: bool = False

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.count + other.count, self.open_loops or other.open_loops)

    def times(self, repetitions: int) -> "Flops":
        """The count of `repetitions` repetitions."""
        return Flops(self.count * repetitions, self.open_loops)


def count(function: Callable[..., Any], *args: Any) -> Flops:
    """Operations of `function(*args)`; the arguments may be shapes.

    Example: a product [2, 3] x [3, 5] has 60.
    """
    return of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def of_jaxpr(jaxpr: Jaxpr) -> Flops:
    """Operations of a jaxpr and of everything that it calls."""
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
    if name == "shard_map":  # its jaxpr describes one device
        return total.times(params["mesh"].size)
    return total


def _dot(equation: Any) -> int:
    """2 x size of the result x length of the contraction."""
    lhs, _ = (variable.aval.shape for variable in equation.invars)
    (contracted, _), _ = equation.params["dimension_numbers"]
    summed = math.prod(lhs[axis] for axis in contracted)
    return 2 * math.prod(equation.outvars[0].aval.shape) * summed


def _convolution(equation: Any) -> int:
    """2 x size of the result x kernel elements per element of the result."""
    kernel = equation.invars[1].aval.shape
    features = equation.params["dimension_numbers"].rhs_spec[0]
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // kernel[features]


def _jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The jaxprs that an equation calls."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item
