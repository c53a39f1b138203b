"""Which arrays a compiled step holds at once: XLA's own account, which it dumps when asked.

XLA orders a module's instructions and gives each value, a result or an element of one, the places
in that order from which and to which it is alive, and a place in memory.
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
_KINDS = {", parameter ": "", "live-out": "output"}  # the first that an allocation's line holds
_Memory = tuple[tuple[int, int], str]


class Value(NamedTuple):
    """A value, where it lies and when it is alive.

    Attributes:
      instruction: that it is a result of.
      array: its type.
      start, end: places in the order of the instructions, both within.
      memory: the allocation and the offset in it; values in one place are one array, changed there.
      kind: temporary | output.
    """

    instruction: Instruction
    array: Array
    start: int
    end: int
    memory: tuple[int, int]
    kind: str = "temporary"


class BufferAssignment(NamedTuple):
    """The values of a module but its arguments, which are held all the time.

    Attributes:
      module: the compiled one.
      temporaries: that come and go.
      outputs: of new memory, which is held all the time, too.
    """

    module: Module
    temporaries: list[Value]
    outputs: list[Value]

    def peak(self, size: Callable[[Value], int] = lambda value: value.array.size) -> list[Value]:
        """The temporaries that are alive where most bytes are, largest first.

        Args:
          size: bytes that a value is to count; by default what it has.
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
    """The account that XLA has dumped (`xla_dump_to`, `xla_dump_hlo_as_text`).

    Args:
      folder: of one compilation; of several modules the largest counts.

    Returns:
      None where XLA has left none, or in words that are not these: later versions may.
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
    """Of a line such as "    fusion.1{0}:3-9"; tables of pointers and what is unknown are none."""
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
    """Where each value lies and of which kind that is, by its name; arguments are left out."""
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
    """One value, the largest, of those that lie in one place."""
    out: dict[tuple[int, int], Value] = {}
    for value in values:
        if value.memory not in out or size(out[value.memory]) < size(value):
            out[value.memory] = value
    return list(out.values())
