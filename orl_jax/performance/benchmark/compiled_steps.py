"""The compiled functions of a config's RL step, as defined in `orl_jax.performance.plan.steps`."""

import dataclasses
import time
from functools import cached_property
from typing import Any

from orl_jax.performance.benchmark.roofline import Cost
from orl_jax.performance.plan import flops, steps
from orl_jax.performance.plan.run_shapes import RunShapes
from orl_jax.performance.plan.shapes import Shapes


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """One compiled function.

    Attributes:
      run: takes arrays.
      flops: of its matrix products; a loop of unknown length counts once.
      accessed: XLA's own count of bytes, including results between its kernels; the body of a loop
        counts once.
      seconds: spent on the compilation.
    """

    run: Any
    flops: int
    accessed: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class CompiledSteps:
    """The compiled functions of a config, each compiled on first use.

    Attributes:
      shapes: of the config, on its devices.

    Example: `CompiledSteps(shapes)["encode"].run(trained, frozen, frames)`.
    """

    shapes: Shapes

    @cached_property
    def _resident(self) -> RunShapes:
        return RunShapes(self.shapes)

    @cached_property
    def _found(self) -> dict[str, CompiledStep]:
        return {}

    def __getitem__(self, name: str) -> CompiledStep:
        if name not in self._found:
            self._found[name] = self._compile(name)
        return self._found[name]

    def _compile(self, name: str) -> CompiledStep:
        begin = time.perf_counter()
        step = steps.make(name, self._resident)
        with self.shapes.mesh_set():
            traced = step.function.trace(*step.args)
            compiled = traced.lower().compile()
        seconds = time.perf_counter() - begin
        count = flops.of_jaxpr(traced.jaxpr.jaxpr).count
        return CompiledStep(compiled, count, _accessed(compiled), seconds)

    def cost(self, name: str) -> Cost:
        """The cost of one call; for a rollout, whose loop has no known length, from its parts.

        Example: `programs.cost("encode").flops`.
        """
        if name == "rollout":
            tokens = self.shapes.config.rl.max_response_tokens
            return self.cost("prefill") + self.cost("decode").times(tokens)
        program, devices = self[name], self.shapes.layout.mesh.size
        sizes = program.run.memory_analysis()
        moved = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
        moved -= sizes.alias_size_in_bytes
        return Cost(program.flops, moved * devices)


def _accessed(compiled: Any) -> float:
    found = compiled.cost_analysis() or {}
    found = found[0] if isinstance(found, list | tuple) else found
    return float(found.get("bytes accessed", 0.0))
