"""The source of each operation in the traced program, from XLA's metadata."""

import re

from jax.extend import backend

from orl_jax.performance.plan.hlo import Module
from orl_jax.performance.plan.measurement import short_source

# Names in an operation's source -> part of a step; flax adds the names of modules' methods.
PARTS = {
    "VLM.encode": "vision",
    "VLM._encode": "vision",
    "vision": "vision",
    "VLM.adapt": "adapter",
    "VLM.prefill": "prefill",
    "VLM.decode": "decode",
    "VLM.respond": "respond",
    "vocabulary": "vocabulary",
    "loss": "loss",
    "optimiser": "optimiser",
}
REST = "other"


def sources() -> dict[tuple[str, str], str]:
    """(program, operation) -> source, for all programs that are currently compiled.

    Programs of the same name are merged; the names of their operations may then clash.
    """
    found: dict[tuple[str, str], str] = {}
    for executable in backend.get_backend().live_executables():
        for module in executable.hlo_modules():
            for name, item in Module(module.to_string()).instructions.items():
                found[module.name, name] = short_source(item.source)
    return found


def part(source: str) -> str:
    """The part of a step that a source belongs to: the innermost one that it names.

    Example: `part("transpose(jvp(loss))/VLM.respond/language/q/dot_general") == "respond"`.
    """
    words = [word for word in re.split(r"[/()]+", source) if word in PARTS]
    return PARTS[words[-1]] if words else REST
