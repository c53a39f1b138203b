"""A config's memory plan: every step measured, the largest one, and remedies if it does not fit.

For each device the plan counts a step's arguments, everything else that a run holds meanwhile
(optimiser, reference, frames), its temporaries and its outputs. It does not count memory outside of
JAX arrays: the CUDA context, NCCL's and cuDNN's own memory (1 to 2 GB together), fragmentation, an
Oracle's model.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from orl_jax.models.sharding.mesh import AXES
from orl_jax.performance.plan import steps
from orl_jax.performance.plan.devices import Target, make_target
from orl_jax.performance.plan.measurement import Measured, measure
from orl_jax.performance.plan.remedies import KEYS, Changes, Remedy, remedies
from orl_jax.performance.plan.run_shapes import RunShapes
from orl_jax.performance.plan.shapes import Shapes, tokens_of
from orl_jax.run import config as rules
from orl_jax.run.errors import UserError

Progress = Callable[[Sequence[str]], Iterable[str]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """The memory that a config needs.

    Attributes:
      target: h100 | cpu.
      mesh: number of devices along each axis.
      memory: bytes of one device.
      steps: in the order of a run.
      remedies: for the largest step, where it does not fit.
    """

    target: str
    mesh: dict[str, int]
    memory: int
    steps: tuple[Measured, ...]
    remedies: tuple[Remedy, ...] = ()

    @property
    def devices(self) -> int:
        """Number of devices."""
        return math.prod(self.mesh.values())

    @property
    def peak(self) -> Measured:
        """The largest whole step, or the largest part where only parts were measured."""
        whole = [step for step in self.steps if not step.part_of] or self.steps
        return max(whole, key=lambda step: step.total)

    @property
    def fits(self) -> bool:
        """Whether every step fits."""
        return self.peak.total <= self.memory

    def to_json(self) -> str:
        """The whole plan as indented JSON."""
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
    """Compiles the steps of a config and reads how much memory they need.

    Args:
      target: see `make_target`.
      devices: 0 takes the number from the mesh, where -1 counts as 1.
      memory: bytes of each device.
      vocabulary: number of tokens where no tokenizer is available.
      only: names of steps; empty is all of them.
      progress: wraps the names of the steps.

    Raises:
      UserError: an unknown step or target; a mesh or batch sizes that don't fit the devices.
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

    def total_of(changes: Changes) -> int:
        resident = _resident(_changed(config, changes), described, vocabulary)
        return measure(steps.make(plan.peak.name, resident), described, resident.shapes).total

    tried = remedies(current(config), plan.peak.name, sizes, total_of)
    helps = tuple(remedy for remedy in tried if remedy.total < 0.99 * plan.peak.total)
    return dataclasses.replace(plan, remedies=helps)


def current(config: ConfigDict) -> dict[str, Any]:
    """The values of the keys that remedies may change.

    Example: `current(config)["rl.batch_size"]`.
    """
    flat = flatten_dict(config.to_dict(), sep=".")
    return {key: flat[key] for key in KEYS if key in flat}


def _changed(config: ConfigDict, changes: Changes) -> ConfigDict:
    """A copy with other values, which must keep the rules."""
    changed = config.copy_and_resolve_references().unlock()
    changed.update_from_flattened_dict(changes)
    rules.validate(changed)
    return changed


def _filled(config: ConfigDict, devices: int) -> ConfigDict:
    """The config; where no number of devices is given, -1 in its mesh becomes 1."""
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
