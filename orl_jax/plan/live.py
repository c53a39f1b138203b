"""Which arrays a compiled step holds at once: XLA's own account, which it dumps when asked.

XLA orders a module's instructions and gives each value, a result or an element of one, the places
in that order from which and to which it is alive. Values that share their memory, as what a loop
carries with what it began with, follow one another.
"""

import pathlib
import re
from typing import NamedTuple

from orl_jax.plan.hlo import Array, Instruction, Module

_RANGE = re.compile(r"    ([\w.\-]+)\{([\d, ]*)\}:(\d+)-(\d+)$")
_PEAK = re.compile(r"  Live ranges at (\d+) \(peak\)")


class Value(NamedTuple):
    """A value and when it is alive.

    Attributes:
      instruction: that it is a result of.
      array: its type.
      start, end: places in the order of the instructions, both within.
    """

    instruction: Instruction
    array: Array
    start: int
    end: int

    def alive(self, place: int) -> bool:
        """Whether it is held at a place."""
        return self.start <= place <= self.end


class Account(NamedTuple):
    """The values of a module.

    Attributes:
      module: the compiled one.
      values: all of them, arguments included.
      peak: the place where most bytes are alive.
    """

    module: Module
    values: list[Value]
    peak: int

    def held(self, place: int) -> list[Value]:
        """The values that are alive at a place, largest first."""
        return sorted(
            (value for value in self.values if value.alive(place)), key=lambda v: -v.array.size
        )


def read(folder: pathlib.Path) -> Account | None:
    """The account that XLA has dumped (`xla_dump_to`, `xla_dump_hlo_as_text`).

    Args:
      folder: of one compilation; of several modules the one with most instructions counts.

    Returns:
      None where XLA has left none, or in words that are not these: later versions may.
    """
    files = sorted(folder.glob("*after_optimizations-live-range.txt"), key=_length)
    if not files:
        return None
    text = files[-1].with_name(files[-1].name.replace("-live-range", ""))
    module = Module(text.read_text())
    lines = files[-1].read_text().splitlines()
    values = [value for line in lines if (value := _value(line, module))]
    peak = next((int(found[1]) for line in lines if (found := _PEAK.match(line))), None)
    return None if peak is None or not values else Account(module, values, peak)


def _length(file: pathlib.Path) -> int:
    return file.stat().st_size


def _value(line: str, module: Module) -> Value | None:
    """Of a line such as "    fusion.1{0}:3-9"; tables of pointers, and what is unknown, are none."""
    found = _RANGE.match(line)
    instruction = module.instructions.get(found[1]) if found else None
    if found is None or instruction is None:
        return None
    index, tuples = found[2], instruction.is_tuple
    if tuples != bool(index):  # a tuple's own table, of a few bytes
        return None
    place = int(index.split(",")[0]) if index else 0
    if place >= len(instruction.arrays):
        return None
    return Value(instruction, instruction.arrays[place], int(found[3]), int(found[4]))
