"""Checks a configuration against its rules (`orl_jax.run.rules`), writes and reads it as JSON.

Key names and units are in `configs/demo.py`. Sections and keys that a config lacks are not checked.
No jax is imported here: data workers stay light.
"""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from orl_jax.run.address import ADDRESSES, check_no_secret
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_atomic
from orl_jax.run.reading import parse_json
from orl_jax.run.rule import Rule
from orl_jax.run.rules import DIVIDES, GIVE_NO_SCORES, NEED_SCORES, RULES
from orl_jax.run.upgrade import upgrade

MISSING = object()
_SAMPLED = ("rl.temperature", "rl.top_k", "rl.top_p", "rl.min_p", "rl.max_response_tokens")
_OF_MODELS = ("data.", "model.", "seed", *_SAMPLED)


def validate(config: ConfigDict) -> None:
    """Refuses a configuration that breaks a rule, before any work is done.

    Raises:
      UserError: one line with the key, its value, the limit and an override that is valid.

    Example: with `rl.group_size = 1`, "config.rl.group_size is 1; it must be at least 2: one answer
    alone has no rank. For example --config.rl.group_size=5".
    """
    for rule in RULES:
        if fault := _fault(config, rule):
            value = lookup(config, rule.key)
            raise UserError(f"{fault}. For example --config.{rule.key}={_nearest(value, rule)}")
    for section in ADDRESSES:
        check_no_secret(lookup(config, f"{section}.address"), section)
    for part, whole in DIVIDES:
        _check_divides(config, part, whole)
    algorithm, oracle = lookup(config, "rl.algorithm"), lookup(config, "oracle.name")
    if algorithm == "ppo":
        _check_divides(config, "rl.ppo.minibatches", "rl.batch_size")
        _check_minibatch(config, "rl.ppo.minibatches")
    else:
        _check_divides(config, "rl.minibatches", "rl.batch_size")
        _check_minibatch(config, "rl.minibatches")
        _check_kl(config)
    if algorithm in NEED_SCORES and oracle in GIVE_NO_SCORES:
        raise UserError(
            f"config.rl.algorithm is {algorithm!r}, which needs scores, and config.oracle.name is "
            f"{oracle!r}, which gives only an order; choose --config.rl.algorithm=grpo_rank or "
            "--config.oracle.name=reference"
        )


def check_whole_groups(responses: int, group_size: int) -> None:
    """Refuses a batch that splits a group: ranks and advantages need all answers to a prompt.

    Args:
      responses: number of responses in a batch, over all prompts.
      group_size: responses per prompt, G.

    Raises:
      UserError: `responses` is not a multiple of `group_size`.

    Example: `check_whole_groups(12, 5)` raises; `check_whole_groups(15, 5)` does not.
    """
    if responses % group_size:
        below, over = responses // group_size * group_size, -(-responses // group_size) * group_size
        choices = f"{below} or {over}" if below else f"{over}"
        raise UserError(
            f"a batch of {responses} responses splits a group: rl.group_size is {group_size}, "
            f"so take {choices} responses"
        )


def to_json(config: ConfigDict) -> str:
    """The resolved configuration, indented, as in `config.json`; sequences become lists."""
    return json.dumps(config.to_dict(), indent=2)


def from_json(text: str) -> ConfigDict:
    """The locked configuration that `to_json` wrote, brought up to date; sequences are tuples.

    Raises:
      UserError: not a JSON object; a section or key is missing or breaks its rule.

    Example: `from_json(to_json(config)) == config` where sequences in `config` are tuples and no
    key is missing (`orl_jax.run.upgrade` fills in what an earlier version did not have).
    """
    tree = parse_json(text, "the stored configuration", "restore it from a copy")
    try:
        return ConfigDict(_with_tuples(upgrade(tree))).lock()
    except (ValueError, TypeError, AttributeError) as error:  # keys that a ConfigDict cannot have
        what = " ".join(str(error)[:200].split())
        raise UserError(f"the stored configuration cannot be used: {what}") from error


def check_stored(config: ConfigDict, place: str) -> None:
    """Refuses a stored configuration that was edited into one that no stage would have written.

    Only what a model is built from and asked with: rules of training may have changed since.

    Args:
      config: of `from_json`.
      place: of the checkpoint, for the message.

    Raises:
      UserError: a key is missing or breaks its rule.

    Example: `check_stored(config, "runs/demo/checkpoints/rl/4")`.
    """
    remedy = f"the configuration in {place} was edited or is damaged; restore it from a copy"
    for rule in RULES:
        if not rule.key.startswith(_OF_MODELS) or rule.key.startswith("model.layers."):
            continue
        if fault := _fault(config, rule, required=True):
            raise UserError(f"{fault}: {remedy}")
    try:
        for part, whole in DIVIDES:
            if part.startswith(_OF_MODELS):
                _check_divides(config, part, whole)
    except UserError as error:
        raise UserError(f"{error}: {remedy}") from error


def up_to_date(config: ConfigDict) -> ConfigDict:
    """A locked copy with the keys that were added since the config's file was written.

    Example: a file of one's own without `data.framing` reads clips as before there was that key.
    """
    return ConfigDict(_with_tuples(upgrade(config.to_dict()))).lock()


def write(config: ConfigDict, workdir: str) -> None:
    """Writes WORKDIR/config.json atomically; makes the folder."""
    write_atomic(Path(workdir) / "config.json", to_json(config) + "\n")


def keys(config: ConfigDict, prefix: str = "") -> Iterator[str]:
    """Dotted names of all sections and keys, e.g. "rl", "rl.group_size"."""
    for name in config:
        yield prefix + name
        if isinstance(config[name], ConfigDict):
            yield from keys(config[name], f"{prefix}{name}.")


def lookup(config: ConfigDict, key: str) -> Any:
    """The value of a dotted key, or `MISSING`."""
    for name in key.split("."):
        if not isinstance(config, ConfigDict) or name not in config:
            return MISSING
        config = config[name]
    return config


def closest(name: str, names: list[str], prefix: str = "") -> str:
    """A hint for a message, "; did you mean PREFIX…?" with the most similar name, or nothing."""
    found = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {prefix}{found[0]}?" if found else ""


def _fault(config: ConfigDict, rule: Rule, required: bool = False) -> str:
    """How a configuration breaks a rule, or ""."""
    value = lookup(config, rule.key)
    if value is MISSING:
        return f"config.{rule.key} is missing" if required else ""
    if _holds(rule, value):
        return ""
    shown = " ".join(repr(value).split())
    return f"config.{rule.key} is {shown:.200}; it must be {rule.limit}"


def _check_divides(config: ConfigDict, part_key: str, whole_key: str) -> None:
    part, whole = lookup(config, part_key), lookup(config, whole_key)
    if not isinstance(part, int) or not isinstance(whole, int):  # missing, or refused by its rule
        return
    if part == 0 or whole % part == 0:
        return
    divisors = ", ".join(str(n) for n in range(1, whole + 1) if whole % n == 0)
    raise UserError(
        f"config.{part_key} is {part}; it must divide config.{whole_key} = {whole}: "
        f"choose one of {divisors}"
    )


def _check_minibatch(config: ConfigDict, minibatches: str) -> None:
    """Updates are on minibatches, so a micro-batch is a part of one."""
    keys = ("rl.batch_size", minibatches, "rl.micro_batch")
    batch, parts, micro = (lookup(config, key) for key in keys)
    if MISSING in (batch, parts, micro) or not micro or batch // parts % micro == 0:
        return
    size = batch // parts
    divisors = ", ".join(str(n) for n in range(1, size + 1) if size % n == 0)
    raise UserError(
        f"config.rl.micro_batch is {micro}; it must divide the {size} prompts of a minibatch, "
        f"config.rl.batch_size / config.{minibatches}: choose one of {divisors}, or 0"
    )


def _check_kl(config: ConfigDict) -> None:
    """The gradient of k1 over sampled tokens is noise around 0: nothing would hold the policy."""
    weight = lookup(config, "rl.kl_coefficient")
    if lookup(config, "rl.kl_estimator") == "k1" and weight not in (MISSING, 0):
        raise UserError(
            f"config.rl.kl_estimator is 'k1' with config.rl.kl_coefficient={weight}; as a loss its "
            "expected gradient is 0, so the policy could drift as it likes. Choose "
            "--config.rl.kl_estimator=k3, k2 or exact; with --config.rl.kl_coefficient=0 k1 is "
            "only logged"
        )


def _holds(rule: Rule, value: Any) -> bool:
    if isinstance(rule.example, int | float) and not _is_number_like(value, rule.example):
        return False
    try:
        return bool(rule.holds(value))
    except (TypeError, OverflowError):  # a string where a number belongs; 10**400
        return False


def _is_number_like(value: Any, example: float) -> bool:
    """Whether a number has the example's type; integers may stand for floats."""
    if isinstance(example, bool) or isinstance(value, bool):
        return type(value) is type(example)
    return isinstance(value, int) or (isinstance(value, float) and isinstance(example, float))


def _nearest(value: Any, rule: Rule) -> Any:
    """The name that was probably meant, or the rule's example; the first of several names."""
    nearest = (difflib.get_close_matches(str(value), rule.names, n=1) or [rule.example])[0]
    return nearest[0] if isinstance(nearest, tuple) else nearest  # as one writes it in a shell


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value
