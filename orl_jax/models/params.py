"""Which parameters a stage trains: regex tables that must cover every parameter.

Parameters are nested dicts; a path is the keys joined by "/", for example
`language/layers/q/lora_a`. A stage trains one part of the tree and freezes the other.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from orl_jax.run.errors import UserError

Flat = dict[str, Any]
Rules = Sequence[tuple[str, str]]

# Parameters that a stage trains next to the model, and that the model does not need afterwards.
AUXILIARY = ("heads", "value")


def flatten(params: Mapping[str, Any]) -> Flat:
    """Nested parameters to a flat dict keyed by path."""
    return flatten_dict(params, sep="/")


def combine(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Merges nested parts into one tree, later ones over earlier ones: undoes `partition`."""
    flat: Flat = {}
    for part in parts:
        flat |= flatten(part)
    return unflatten_dict(flat, sep="/")


def policy_of(trained: dict[str, Any]) -> dict[str, Any]:
    """The model's own parameters among `trained`."""
    return {name: tree for name, tree in trained.items() if name not in AUXILIARY}


def partition(
    params: Mapping[str, Any], rules: Rules, unused: Mapping[str, str] = MappingProxyType({})
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits parameters into (trained, frozen) by the first rule whose regex matches a whole path.

    What gets no gradient is always frozen: the weight decay would only shrink it. That is the
    vision encoder, which videos pass without one (`VLM.see`), and what a stage names. The vision
    warm-up, which trains the encoder, has no rules.

    Args:
      params: nested parameters, or their shapes.
      rules: pairs (regex, "train" | "freeze"), for example
        `((".*/lora_[ab]", "train"), (".*", "freeze"))`.
      unused: parts that the stage's loss does not depend on, and why, for example
        `{"language/lm_head": "answers are scored without it"}`.

    Returns:
      Two nested dicts.

    Raises:
      UserError: a parameter that no rule covers, by name; an unknown action; a rule that trains a
        quantised parameter or one without a gradient; no parameter to train.
    """
    for pattern, action in rules:
        if action not in ("train", "freeze"):
            raise UserError(f"rule {pattern!r} says {action!r}; choose train or freeze")
    parts: dict[str, Flat] = {"train": {}, "freeze": {}}
    for path, value in flatten(params).items():
        action = next((action for regex, action in rules if re.fullmatch(regex, path)), None)
        if action is None:
            raise UserError(f"no rule of `trainable` covers the parameter {path}; add one for it")
        parts[action][path] = value
    if path := next((p for p, v in parts["train"].items() if not _is_float(v)), None):
        raise UserError(
            f"the rules of `trainable` train {path}, which is quantised; train only the adapters "
            '(".*/lora_[ab]"), or set the model\'s quantisation to none'
        )
    for part, reason in {"vision": "videos are encoded without one", **unused}.items():
        whole = part if part in parts["train"] else f"{part}/.*"
        if path := next((path for path in parts["train"] if re.fullmatch(whole, path)), None):
            raise UserError(
                f"the rules of `trainable` train {path}, which gets no gradient: {reason}; "
                f'begin them with ("{whole}", "freeze")'
            )
    if not parts["train"]:
        raise UserError("the rules of `trainable` train no parameter; let one of them say train")
    return unflatten_dict(parts["train"], sep="/"), unflatten_dict(parts["freeze"], sep="/")


def missing(shapes: Mapping[str, Any], pretrained: Mapping[str, Any]) -> list[str]:
    """Paths of the model's parameters that `pretrained` lacks.

    Args:
      shapes: the model's parameters, or anything with their shapes.
      pretrained: parameters of a checkpoint.

    Raises:
      UserError: a pretrained parameter that the model does not have, or has in another shape.
    """
    flat, given = flatten(shapes), flatten(pretrained)
    for path, value in given.items():
        if path not in flat:
            raise UserError(f"the checkpoint holds {path}, which this model does not have")
        if flat[path].shape != value.shape:
            raise UserError(
                f"{path} has shape {tuple(value.shape)} in the checkpoint and "
                f"{tuple(flat[path].shape)} in the model; check config.model"
            )
    return [path for path in flat if path not in given]


def masters(trained: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters to train, in float32 whatever they were stored in.

    Small updates to bfloat16 would be lost: it has 8 bits of precision, and an update is often a
    thousandth of the value.
    """
    return jax.tree.map(lambda value: value.astype(jax.numpy.float32), dict(trained))


def _is_float(value: Any) -> bool:
    return jax.numpy.issubdtype(value.dtype, jax.numpy.floating)


def count(tree: Any) -> int:
    """Total number of elements in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
