"""Parses the text of a compiled module, as far as memory needs it: which value comes from which."""

import dataclasses
import math
import re
from collections.abc import Iterator

SIZES = {
    "pred": 1, "s4": 1, "u4": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2,
    "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16,
}  # fmt: skip

_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"(calls|to_apply|body|condition)=%([\w.\-]+)")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$")


@dataclasses.dataclass(frozen=True)
class Array:
    """The type of an array.

    Attributes:
      dtype: HLO's name, such as bf16.
      shape: on one device.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes; 0 for types that hold no numbers."""
        return math.prod(self.shape) * SIZES.get(self.dtype, 0)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of a scheduled module.

    Attributes:
      computation: the one that contains it.
      arrays: the types of its result.
      is_tuple: whether the result is a tuple of these.
      operands: names of instructions.
      called: "calls" | "to_apply" | "body" | "condition" -> name of a computation.
      source: its origin in the traced program; "" where XLA created it.
      root: whether it is the result of its computation.
      index: of a parameter or of an element of a tuple; else 0.
    """

    name: str
    computation: str
    opcode: str
    arrays: tuple[Array, ...]
    is_tuple: bool
    operands: tuple[str, ...]
    called: dict[str, str]
    source: str
    root: bool
    index: int


class Module:
    """A module's instructions by name.

    Args:
      text: as XLA prints it, for example `compiled.as_text()`.

    Attributes:
      instructions: by name; names are unique in a module.
      computations: their instructions in order, by name.
      users: name of an instruction -> those of its computation that read it.
    """

    def __init__(self, text: str) -> None:
        self.instructions = {item.name: item for item in _parse(text)}
        self.computations: dict[str, list[Instruction]] = {}
        self.users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for item in self.instructions.values():
            self.computations.setdefault(item.computation, []).append(item)
            for operand in dict.fromkeys(item.operands):
                if operand in self.users:
                    self.users[operand].append(item)

    def root(self, computation: str) -> Instruction:
        """The result of a computation."""
        return next(item for item in self.computations[computation] if item.root)

    def parameter(self, computation: str, index: int) -> Instruction:
        """An argument of a computation."""
        return next(
            item
            for item in self.computations[computation]
            if item.opcode == "parameter" and item.index == index
        )

    def caller(self, computation: str) -> Instruction | None:
        """An instruction that calls a computation, if any."""
        return next(
            (i for i in self.instructions.values() if computation in i.called.values()), None
        )


def _parse(text: str) -> Iterator[Instruction]:
    computation = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header[1]
        elif line.startswith("  ") and " = " in line:
            yield _instruction(line.strip(), computation)


def _instruction(line: str, computation: str) -> Instruction:
    root, line = line.startswith("ROOT "), line.removeprefix("ROOT ")
    name, _, rest = line.partition(" = ")
    end = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    result, rest = rest[:end], rest[end:].strip()
    opcode, _, rest = rest.partition("(")
    arguments, _, attributes = ("(" + rest).partition("), ")
    source = re.search(r'op_name="([^"]*)"', attributes)
    index = re.match(r"\(\d+", arguments) if opcode == "parameter" else None
    element = re.search(r"\bindex=(\d+)", attributes)
    number = index[0][1:] if index else element[1] if element else 0
    return Instruction(
        name.removeprefix("%"), computation, opcode, arrays_of(result),
        result.startswith("("), tuple(_NAME.findall(arguments)), dict(_CALLED.findall(attributes)),
        source[1] if source else "", root, int(number),
    )  # fmt: skip


def arrays_of(text: str) -> tuple[Array, ...]:
    """The arrays that a type names, in order.

    Example: `arrays_of("(s32[], bf16[2,3]{1,0})")[1].size == 12`.
    """
    return tuple(
        Array(dtype, tuple(int(size) for size in shape.split(",") if size))
        for dtype, shape in _ARRAY.findall(text)
    )


def _closing(text: str) -> int:
    """The index that closes the parenthesis at the start of `text`."""
    depth = 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return place
    raise ValueError(f"no closing parenthesis in {text[:80]}")
