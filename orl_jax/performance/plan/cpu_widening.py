"""float32 arrays that are bfloat16 on a GPU: XLA for CPUs multiplies and adds only in float32.

It first converts bfloat16 operands, even whole caches and stacks of kernels before a loop, and
rounds the results afterwards. In its program a float32 array stands for a bfloat16 one if

    it is converted from a bfloat16 array, possibly transposed or sliced in between, or
    every instruction that reads it first rounds it to bfloat16.

Such an array counts half. One that is an unchanged conversion of something that a loop or an
argument holds anyway counts nothing, because a GPU reads the original. A bfloat16 array that is
another one with a part replaced also counts nothing: a GPU writes the part in place, while a CPU
widens and rounds the whole array.
"""

from orl_jax.performance.plan.buffer_assignment import Value
from orl_jax.performance.plan.hlo import Instruction, Module

# Instructions that move numbers without changing them.
_PLAIN = ("bitcast", "reshape", "get-tuple-element")
_MOVING = (
    "copy", "transpose", "slice", "dynamic-slice", "broadcast", "pad", "concatenate", "gather",
)  # fmt: skip
_HELD = ("parameter", "get-tuple-element")
_CALLS = ("fusion", "call")


class CpuWidening:
    """The sizes that values would have without the widening of bfloat16.

    Args:
      module: compiled for a CPU.
    """

    def __init__(self, module: Module) -> None:
        self._module = module

    def size(self, value: Value) -> int:
        """Bytes of a value without the widening."""
        size, item = value.array.size, value.instruction
        if value.array.dtype == "bf16" and self._replaces_a_part(item):
            return 0
        if value.array.dtype != "f32" or item.is_tuple or item.opcode in _HELD:
            return size
        origin = self._origin(item)
        if origin:
            return 0 if origin == "held" else size // 2
        return size // 2 if self._is_rounded(item) else size

    def _origin(self, item: Instruction) -> str:
        """The origin of a float32 array: "held" or "moved" bfloat16, or "" for neither."""
        moved = False
        outside = item
        if item.opcode in _CALLS:
            item = self._inside(item)
        while item.opcode in (*_PLAIN, *_MOVING):
            moved |= item.opcode in _MOVING
            item = self._module.instructions[item.operands[0]]
        if item.opcode != "convert" or self._operand(item).arrays[0].dtype != "bf16":
            return ""
        return "held" if not moved and self._is_held(outside, self._operand(item)) else "moved"

    def _replaces_a_part(self, item: Instruction) -> bool:
        """Whether it is round(update(widen(x), part)) with an x of the same type."""
        whole = item.arrays[0]
        if item.opcode not in _CALLS or item.is_tuple:
            return False
        for opcode in ("convert", "dynamic-update-slice", "convert"):
            item = self._inside(item) if item.opcode in _CALLS else self._operand(item)
            if item.opcode != opcode:
                return False
        source = self._operand(item)
        return source.opcode == "parameter" and source.arrays == (whole,)

    def _inside(self, item: Instruction) -> Instruction:
        """The instruction that computes the result of a call or a fusion."""
        return self._module.root(item.called.get("calls") or item.called["to_apply"])

    def _operand(self, item: Instruction) -> Instruction:
        return self._module.instructions[item.operands[0]]

    def _is_held(self, outside: Instruction, source: Instruction) -> bool:
        """Whether `source`, inside the computation that `outside` calls, is held anyway."""
        if source.computation != outside.computation:
            while source.opcode in _PLAIN:
                source = self._operand(source)
            if source.opcode != "parameter":
                return False
            source = self._module.instructions[outside.operands[source.index]]
        while source.opcode == "bitcast":
            source = self._operand(source)
        return source.opcode in _HELD

    def _is_rounded(self, item: Instruction) -> bool:
        """Whether every instruction that reads it first converts it to bfloat16."""
        users = self._module.users[item.name]
        return bool(users) and all(self._rounds(user, item) for user in users)

    def _rounds(self, user: Instruction, item: Instruction) -> bool:
        if user.opcode == "convert":
            return user.arrays[0].dtype == "bf16"
        if user.opcode in (*_PLAIN, *_MOVING):
            return self._is_rounded(user)
        if user.opcode not in _CALLS:
            return False
        computation = user.called.get("calls") or user.called["to_apply"]
        places = [place for place, name in enumerate(user.operands) if name == item.name]
        inner = [self._module.parameter(computation, place) for place in places]
        return all(self._is_rounded(parameter) for parameter in inner)
