"""A config's plan: every step measured, the one that needs most, and what to change if it is much.

Of each device the plan counts the arguments of a step, what a run holds beside them (optimiser,
reference, frames), its temporaries and its outputs. It does not count what is no array of JAX's:
the CUDA context, NCCL's and cuDNN's own memory (1 to 2 GB together), holes between arrays, an
Oracle's model.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence

from ml_collections import ConfigDict

from orl_jax.models.sharding.mesh import AXES
from orl_jax.performance.plan import steps
from orl_jax.performance.plan.devices import Target, make_target
from orl_jax.performance.plan.measurement import Measured, measure
from orl_jax.performance.plan.remedies import Remedy, remedies
from orl_jax.performance.plan.run_shapes import RunShapes
from orl_jax.performance.plan.shapes import Shapes, tokens_of
from orl_jax.run.errors import UserError

Progress = Callable[[Sequence[str]], Iterable[str]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a config needs.

    Attributes:
      target: h100 | cpu.
      mesh: devices along each axis.
      memory: bytes of one device.
      steps: in the order of a run.
      remedies: for the step that needs most, where that is more than there is.
    """

    target: str
    mesh: dict[str, int]
    memory: int
    steps: tuple[Measured, ...]
    remedies: tuple[Remedy, ...] = ()

    @property
    def devices(self) -> int:
        """How many."""
        return math.prod(self.mesh.values())

    @property
    def peak(self) -> Measured:
        """The whole step that needs most; of parts alone, the part."""
        whole = [step for step in self.steps if not step.part_of] or self.steps
        return max(whole, key=lambda step: step.total)

    @property
    def fits(self) -> bool:
        """Whether every step does."""
        return self.peak.total <= self.memory

    def to_json(self) -> str:
        """Everything, indented."""
        measured = [dataclasses.asdict(s) | {"total": s.total} for s in self.steps]
        tree = dataclasses.asdict(self) | {
            "steps": measured,
            "remedies": [r._asdict() | {"flags": r.flags} for r in self.remedies],
            "fits": self.fits,
            "peak": self.peak.name,
        }
        return json.dumps(tree, indent=2)


def make_plan(
    config: ConfigDict,
    *,
    target: str = "auto",
    devices: int = 0,
    memory: int,
    vocabulary: int,
    only: Sequence[str] = (),
    progress: Progress = list,
) -> Plan:
    """Compiles the steps of a config and reads what they need.

    Args:
      target: see `make_target`.
      devices: 0 takes what the mesh says, -1 in it as 1.
      memory: bytes of each device.
      vocabulary: tokens, where no tokenizer is at hand.
      only: names of steps; none is all of them.
      progress: wraps the names of the steps.

    Raises:
      UserError: no such step or target; a mesh or rows that don't fit the devices.
    """
    count = devices or math.prod(max(config.mesh.get(axis, 1), 1) for axis in AXES)
    described = make_target(target, count, memory)
    resident = _resident(_filled(config, devices), described, vocabulary)
    sizes = dict(resident.shapes.layout.mesh.shape)
    measured = tuple(
        measure(steps.make(name, resident), described, resident.shapes)
        for name in progress(_chosen(resident, only))
    )
    plan = Plan(described.name, sizes, memory, measured)
    if plan.fits:
        return plan

    def total_of(changed: ConfigDict) -> int:
        there = _resident(changed, described, vocabulary)
        return measure(steps.make(plan.peak.name, there), described, there.shapes).total

    helps = [r for r in remedies(config, plan.peak.name, sizes, total_of) if _is_less(r, plan)]
    return dataclasses.replace(plan, remedies=tuple(helps))


def _is_less(remedy: Remedy, plan: Plan) -> bool:
    return remedy.total < 0.99 * plan.peak.total


def _filled(config: ConfigDict, devices: int) -> ConfigDict:
    """The config; without a number of devices a -1 of its mesh is 1."""
    if devices or -1 not in config.mesh.values():
        return config
    config = config.copy_and_resolve_references().unlock()
    config.mesh.update({axis: max(size, 1) for axis, size in config.mesh.items()})
    return config


def _resident(config: ConfigDict, target: Target, vocabulary: int) -> RunShapes:
    return RunShapes(Shapes(config, tokens_of(config, vocabulary), target.devices))


def _chosen(resident: RunShapes, only: Sequence[str]) -> list[str]:
    names = steps.names(resident)
    if unknown := [name for name in only if name not in names]:
        raise UserError(f"there is no step {unknown[0]!r}; choose some of {', '.join(names)}")
    return [name for name in names if not only or name in only]
