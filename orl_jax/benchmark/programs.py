"""The compiled functions of a config's RL step, as `orl_jax.plan.steps` makes them."""

import dataclasses
import time
from functools import cached_property
from typing import Any

from orl_jax.benchmark.roofline import Cost
from orl_jax.plan import flops, steps
from orl_jax.plan.resident import Resident
from orl_jax.plan.shapes import Shapes


@dataclasses.dataclass(frozen=True)
class Program:
    """One of them.

    Attributes:
      run: takes arrays.
      cost: of one call.
      accessed: XLA's own count of bytes, results between its kernels included; it takes the body of
        a loop once.
      seconds: that the compilation took.
    """

    run: Any
    cost: Cost
    accessed: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Programs:
    """The programs of a config, each compiled when it is first asked for.

    Attributes:
      shapes: of the config, on its devices.

    Example: `Programs(shapes)["encode"].run(trained, frozen, frames)`.
    """

    shapes: Shapes

    @cached_property
    def _resident(self) -> Resident:
        return Resident(self.shapes)

    @cached_property
    def _found(self) -> dict[str, Program]:
        return {}

    def __getitem__(self, name: str) -> Program:
        if name not in self._found:
            self._found[name] = self._compile(name)
        return self._found[name]

    def _compile(self, name: str) -> Program:
        begin = time.perf_counter()
        step = steps.make(name, self._resident)
        with self.shapes.mesh_set():
            traced = step.function.trace(*step.args)
            compiled = traced.lower().compile()
        seconds = time.perf_counter() - begin
        cost = self._cost(name, traced, compiled)
        return Program(compiled, cost, _accessed(compiled), seconds)

    def _cost(self, name: str, traced: Any, compiled: Any) -> Cost:
        """Of a rollout, whose loop hides its turns, that of its parts."""
        if name == "rollout":
            turns = self.shapes.config.rl.max_response_tokens
            return self["prefill"].cost + self["decode"].cost.times(turns)
        sizes, devices = compiled.memory_analysis(), self.shapes.layout.mesh.size
        moved = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
        moved -= sizes.alias_size_in_bytes
        return Cost(flops.of_jaxpr(traced.jaxpr.jaxpr).count, moved * devices)


def _accessed(compiled: Any) -> float:
    found = compiled.cost_analysis() or {}
    found = found[0] if isinstance(found, list | tuple) else found
    return float(found.get("bytes accessed", 0.0))
