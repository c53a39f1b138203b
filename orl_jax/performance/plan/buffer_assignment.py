"""Which arrays a compiled step holds at once, from the buffer assignment that XLA dumps.

XLA orders the instructions of a module and assigns to each value (a result, or an element of one)
the positions in this order between which it is alive, and a place in memory.
"""

import pathlib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from orl_jax.performance.plan.hlo import Array, Instruction, Module

_RANGE = re.compile(r"    ([\w.\-]+)\{([\d, ]*)\}:(\d+)-(\d+)$")
_ALLOCATION = re.compile(r"allocation (\d+): (.*)")
_PLACE = re.compile(
    r" value: <\d+ ([\w.\-]+)(?:\{([\d, ]*)\})?(?: \(phi\))? @\d+> \(size=\d+,offset=(\d+)\)"
)
_KINDS = {", parameter ": "", "live-out": "output"}  # the first found in an allocation's line
_Memory = tuple[tuple[int, int], str]


class Value(NamedTuple):
    """A value, its place in memory and when it is alive.

    Attributes:
      instruction: the one that computes it.
      array: its type.
      start, end: positions in the order of the instructions, inclusive.
      memory: the allocation and the offset in it; values in one place are updates of one array.
      kind: temporary | output.
    """

    instruction: Instruction
    array: Array
    start: int
    end: int
    memory: tuple[int, int]
    kind: str = "temporary"


class BufferAssignment(NamedTuple):
    """The values of a module without its arguments, which are alive throughout.

    Attributes:
      module: the compiled module.
      temporaries: values that are alive for a time.
      outputs: values in newly allocated memory, which are also alive throughout.
    """

    module: Module
    temporaries: list[Value]
    outputs: list[Value]

    def peak(self, size: Callable[[Value], int] = lambda value: value.array.size) -> list[Value]:
        """The temporaries that are alive at the peak, largest first.

        Args:
          size: the bytes to count for a value; by default its own.
        """
        starts, ends = _by(self.temporaries, "start"), _by(self.temporaries, "end")
        alive: dict[int, Value] = {}
        top, most = 0, []
        for place in range(max(ends, default=-1) + 1):
            alive |= {id(value): value for value in starts.get(place, ())}
            if place in starts:
                distinct = distinct_of(alive.values(), size)
                total = sum(map(size, distinct))
                top, most = max((top, most), (total, distinct), key=lambda pair: pair[0])
            for value in ends.get(place, ()):
                del alive[id(value)]
        return sorted(most, key=lambda value: -size(value))


def read(folder: pathlib.Path) -> BufferAssignment | None:
    """Reads the buffer assignment that XLA has dumped (`xla_dump_to`, `xla_dump_hlo_as_text`).

    Args:
      folder: of one compilation; of several modules the largest counts.

    Returns:
      None where XLA has dumped none, or in another format, as later versions may.
    """
    files = sorted(folder.glob("*_after_optimizations.txt"), key=lambda file: file.stat().st_size)
    if not files:
        return None
    module = Module(files[-1].read_text())
    ranges, places = (
        files[-1].with_name(f"{files[-1].stem}-{part}.txt")
        for part in ("live-range", "buffer-assignment")
    )
    kinds: dict[str, list[Value]] = {"temporary": [], "output": []}
    memory = _memory(places.read_text())
    for line in ranges.read_text().splitlines():
        if found := _value(line, module, memory):
            kinds[found.kind].append(found)
    return (
        BufferAssignment(module, kinds["temporary"], kinds["output"])
        if any(kinds.values())
        else None
    )


def _value(line: str, module: Module, memory: dict[str, _Memory]) -> Value | None:
    """Parses a line such as "    fusion.1{0}:3-9"; None for tuples and unknown values."""
    found = _RANGE.match(line)
    instruction = module.instructions.get(found[1]) if found else None
    if found is None or instruction is None or instruction.is_tuple != bool(found[2]):
        return None
    place, name = int((found[2] or "0").split(",")[0]), f"{found[1]}{{{found[2]}}}"
    if place >= len(instruction.arrays) or name not in memory:
        return None
    start, end = int(found[3]), int(found[4])
    return Value(instruction, instruction.arrays[place], start, end, *memory[name])


def _memory(text: str) -> dict[str, _Memory]:
    """Name of a value -> its place in memory and its kind; arguments are left out."""
    out: dict[str, _Memory] = {}
    allocation, kind = 0, ""
    for line in text.splitlines():
        if found := _ALLOCATION.match(line):
            allocation = int(found[1])
            kind = next((kind for word, kind in _KINDS.items() if word in found[2]), "temporary")
        elif kind and (found := _PLACE.match(line)):
            out[f"{found[1]}{{{found[2] or ''}}}"] = ((allocation, int(found[3])), kind)
    return out


def _by(values: Iterable[Value], key: str) -> dict[int, list[Value]]:
    out: dict[int, list[Value]] = {}
    for value in values:
        out.setdefault(getattr(value, key), []).append(value)
    return out


def distinct_of(values: Iterable[Value], size: Callable[[Value], int]) -> list[Value]:
    """For each place in memory, the largest of its values."""
    out: dict[tuple[int, int], Value] = {}
    for value in values:
        if value.memory not in out or size(out[value.memory]) < size(value):
            out[value.memory] = value
    return list(out.values())
