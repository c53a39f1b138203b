"""Overrides on the command line that have no effect are refused, by `orl_jax.run.effects`."""

import re
import sys
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from orl_jax.run import command_line, effects, inheritance
from orl_jax.run import config as rules
from orl_jax.run.errors import UserError


def refuse_unused(script: str, config: ConfigDict) -> None:
    """Refuses overrides that have no effect, by the tables of `orl_jax.run.effects`.

    An override of a shared key counts for the keys that inherit it.

    Args:
      script: its name there.
      config: with all overrides.

    Raises:
      UserError: names the key, the mode in which it does nothing, and the remedy.

    Example: `refuse_unused("train_sft", config)` refuses `--config.rl.steps=9`.
    """

    def why(key: str) -> str:
        return effects.why_unused(script, key, partial(_value, config))

    for key in command_line.given():
        if not (fault := why(key)) and not _is_shared(key):
            continue
        heirs = [heir for heir in _heirs(key) if effects.reads(script, heir)]
        if not all(faults := [why(heir) for heir in heirs]):
            continue
        own = _own(script, key, config) if _is_shared(key) else ""
        raise UserError(f"--config.{key} has no effect {faults[0] if faults else own or fault}")


def flags_for(script: str) -> list[str]:
    """The flags of this command line about the configuration, as far as another script reads them.

    Example: after `train_sft.py --config=c.py --config.seed=1 --config.sft.steps=9`,
    `flags_for("train_rl") == ["--config=c.py", "--config.seed=1"]`.
    """
    found = []
    for argument in sys.argv[1:]:
        if not (flag := re.match(r"--config(?:\.([^=]+))?=", argument)):
            continue
        names = [flag[1], *_heirs(flag[1])] if flag[1] else []
        if not names or any(effects.reads(script, name) for name in names):
            found.append(argument)
    return found


def refuse_all(mode: str) -> None:
    """Refuses any override, as none has an effect in a mode of the script, which it names.

    Raises:
      UserError: names the first.
    """
    for key in command_line.given():
        raise UserError(f"--config.{key} has no effect {mode}; leave it out")


def _value(config: ConfigDict, key: str) -> Any:
    value = rules.lookup(config, key)
    return None if value is rules.MISSING else value


def _is_shared(key: str) -> bool:
    return any(key.startswith(f"{section}.") for section in inheritance.SHARED)


def _own(script: str, key: str, config: ConfigDict) -> str:
    """The keys that would inherit a shared one if they had no value of their own; "" for none."""
    last = key.rpartition(".")[2]
    found = [name for name in rules.keys(config) if name.rpartition(".")[2] == last]
    found = [f"--config.{name}" for name in found if name != key and effects.reads(script, name)]
    return f"here: set {' or '.join(found)}, which has its own value" if found else ""


def _heirs(key: str) -> list[str]:
    """The keys that have the value of another one, as they set none of their own."""
    before, after = (command_line.load(command_line.config_path() or "") for _ in range(2))
    after.update_from_flattened_dict({key: _another(rules.lookup(before, key))})
    return [name for name in command_line.changed(before, after) if name != key]


def _another(value: Any) -> Any:
    """A value of the same type."""
    if isinstance(value, bool):
        return not value
    more = {str: ".", tuple: ("",), int: 1, float: 1.0}.get(type(value))
    return value if more is None else value + more
