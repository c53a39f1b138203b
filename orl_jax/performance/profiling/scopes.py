"""Where operations come from in the program that was traced, by what XLA keeps of it."""

import re

from jax.extend import backend

from orl_jax.performance.plan.hlo import Module
from orl_jax.performance.plan.measurement import short_source

# Parts of a step by names in an operation's source; flax names a module's methods itself.
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
    """Of every operation of the programs that are compiled now, by (program, operation).

    Programs of one name are put together; the names of their operations may then clash.
    """
    found: dict[tuple[str, str], str] = {}
    for executable in backend.get_backend().live_executables():
        for module in executable.hlo_modules():
            for name, item in Module(module.to_string()).instructions.items():
                found[module.name, name] = short_source(item.source)
    return found


def part(source: str) -> str:
    """The part of a step that a source belongs to: the innermost that it names.

    Example: `part("transpose(jvp(loss))/VLM.respond/language/q/dot_general") == "respond"`.
    """
    words = [word for word in re.split(r"[/()]+", source) if word in PARTS]
    return PARTS[words[-1]] if words else REST
