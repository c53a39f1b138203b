"""The memory of one step on each device: compiled ahead of time and analysed, never run."""

import dataclasses
import logging
import pathlib
import re
import tempfile
import time
from collections.abc import Callable, Iterator

from orl_jax.performance.plan import buffer_assignment, flops
from orl_jax.performance.plan.buffer_assignment import BufferAssignment, Value
from orl_jax.performance.plan.cpu_widening import CpuWidening
from orl_jax.performance.plan.devices import Target
from orl_jax.performance.plan.hlo import Instruction, Module
from orl_jax.performance.plan.shapes import Shapes, bytes_per_device
from orl_jax.performance.plan.steps import Step

# Uninformative parts of an instruction's source.
_NOISE = re.compile(
    r"jit\(.*?\)(?=/|$)|\b(while|body|cond|closed_call|checkpoint|rematted_computation)(?=/|$)"
    r"|vmap\(\)|shard_map"
)


@dataclasses.dataclass(frozen=True)
class LiveArrays:
    """Arrays of one type and source that are alive at a step's peak, without its arguments.

    Attributes:
      type: such as bf16[32,64].
      count: number of arrays.
      bytes: of all of them, on one device.
      source: what computes them.
    """

    type: str
    count: int
    bytes: int
    source: str


@dataclasses.dataclass(frozen=True)
class Measured:
    """Bytes on one device while a step runs; operations over all devices.

    Attributes:
      name, part_of, calls: see `Step`.
      arguments: of the compiled function, without unused ones.
      beside: everything else that a run holds meanwhile.
      temporaries: of the function; for the target cpu, without `widened`.
      outputs: without those that reuse the memory of arguments.
      widened: temporaries that only CPUs need (`orl_jax.performance.plan.cpu_widening`).
      flops: of one call.
      open_loops: whether some of these are in a loop of unknown length, which counts once.
      held: the temporaries and outputs, largest first.
      seconds: spent on the compilation.
    """

    name: str
    part_of: str
    calls: int
    arguments: int
    beside: int
    temporaries: int
    outputs: int
    widened: int
    flops: int
    open_loops: bool
    held: tuple[LiveArrays, ...]
    seconds: float

    @property
    def total(self) -> int:
        """All bytes that are needed."""
        return self.arguments + self.beside + self.temporaries + self.outputs


def measure(step: Step, target: Target, shapes: Shapes) -> Measured:
    """Compiles a step and reads its memory.

    Args:
      shapes: of the config, on the devices of `target`.
    """
    begin = time.perf_counter()
    with shapes.mesh_set(), tempfile.TemporaryDirectory() as folder:
        traced = step.function.trace(*step.args)
        dump = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
        stats = traced.lower().compile(target.options | dump).memory_analysis()
        account = buffer_assignment.read(pathlib.Path(folder))
    if account is None:
        logging.warning("XLA dumped no buffer assignment for %s: its arrays are unknown", step.name)
    size, widened = _sizes(account, target)
    operations = flops.of_jaxpr(traced.jaxpr.jaxpr)
    arguments = stats.argument_size_in_bytes
    return Measured(
        step.name, step.part_of, step.calls,
        arguments=arguments,
        beside=max(bytes_per_device((step.alive, step.args)) - arguments, 0),
        temporaries=stats.temp_size_in_bytes - widened,
        outputs=stats.output_size_in_bytes - stats.alias_size_in_bytes,
        widened=widened,
        flops=operations.count,
        open_loops=operations.open_loops,
        held=tuple(_held(account, size)) if account else (),
        seconds=time.perf_counter() - begin,
    )  # fmt: skip


def _sizes(account: BufferAssignment | None, target: Target) -> tuple[Callable[[Value], int], int]:
    """The bytes to count for a value, and by how much that lowers the peak."""

    def whole(value: Value) -> int:
        return value.array.size

    if account is None or target.name != "cpu":
        return whole, 0
    narrow = CpuWidening(account.module).size
    most, fewer = (sum(map(size, account.peak(size))) for size in (whole, narrow))
    return narrow, most - fewer


def _held(account: BufferAssignment, size: Callable[[Value], int]) -> Iterator[LiveArrays]:
    """Outputs, and temporaries at their peak, grouped by type and source."""
    groups: dict[tuple[str, str], list[int]] = {}
    for value in account.peak(size) + buffer_assignment.distinct_of(account.outputs, size):
        if size(value):
            source = _source(value.instruction, account.module)
            groups.setdefault((str(value.array), source), []).append(size(value))
    held = [LiveArrays(*key[:1], len(g), sum(g), key[1]) for key, g in groups.items()]
    yield from sorted(held, key=lambda item: -item.bytes)


def _source(item: Instruction, module: Module) -> str:
    """What computes an array, in short: "VLM.decode/language/layers/q/dot_general".

    Where XLA does not say, as for its own copies: what reads it.
    """
    if item.opcode == "parameter" and (loop := module.caller(item.computation)):
        return f"carried by a loop of {short_source(loop.source)}".removesuffix(" of ")
    if source := short_source(item.source):
        return source
    read = (short_source(user.source) for user in module.users[item.name])
    return next((f"{item.name} for {source}" for source in read if source), item.name)


def short_source(source: str) -> str:
    """A source without its uninformative parts.

    Example: `short_source("jit(f)/while/body/VLM.decode/mul") == "VLM.decode/mul"`.
    """
    return "/".join(part for part in _NOISE.sub("", source).split("/") if part)
