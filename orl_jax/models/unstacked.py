"""Other forms of a model and its parameters that compute the same, sooner.

`unstacked` gives each layer its own module, `merged` adds adapters to their kernels, and `turned`
turns kernels round. All are pure, are meant for inside of a jitted function, and leave alone what
they don't fit: many layers in a loop, kernels that are quantised or rounded.
"""

from typing import Any

import jax
import jax.numpy as jnp

from orl_jax.models.vlm import VLM

Params = dict[str, Any]


def unstacked(model: VLM, params: Params) -> tuple[VLM, Params]:
    """Layers one by one where `Llama.unroll` unrolls them all anyway.

    A loop over tokens then does not slice every kernel from its stack again for every token, and
    the last layer leaves out what nobody reads (`last_only`).

    Args:
      model, params: see `VLM`.

    Returns:
      The model, and parameters that are slices of the given ones: gradients reach these.

    Example: `model, params = unstacked(model, params)`; `params["language"]["layer_0"]` is there.
    """
    language = model.language
    if not language.stacked or language.unroll < language.layers:
        return model, params
    others = {name: tree for name, tree in params["language"].items() if name != "layers"}
    leaves, tree = jax.tree.flatten(params["language"]["layers"])
    # By `split`, whose gradient is one concatenation; that of N slices is a sum of N stacks.
    split = [jax.lax.split(leaf, (1,) * language.layers) for leaf in leaves]
    layers = {
        f"layer_{index}": tree.unflatten([part[0] for part in parts])
        for index, parts in enumerate(zip(*split, strict=True))
    }
    clone = model.clone(language=language.clone(stacked=False))
    return clone, {**params, "language": {**others, **layers}}


def merged(model: VLM, params: Params) -> tuple[VLM, Params]:
    """`W + (alpha / rank) A B` for each adapted kernel W, for passes without a gradient.

    Only where kernels are float32, as is the arithmetic: rounded to fewer bits a merged kernel
    would be another policy than the one that is trained.

    Args:
      model, params: see `VLM`.

    Returns:
      A model without adapters, and its parameters.

    Example: `model, params = merged(model, params)`; no path ends in lora_a.
    """
    language = model.language
    if not language.lora_rank or not _float32(model, params):
        return model, params
    merge = _merge(language.lora_alpha / language.lora_rank)
    clone = model.clone(language=language.clone(lora_rank=0))
    return clone, {**params, "language": merge(params["language"])}


def _merge(scale: float) -> Any:
    def merge(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        if "lora_a" not in tree:
            return {name: merge(value) for name, value in tree.items()}
        return {"kernel": tree["kernel"] + scale * (tree["lora_a"] @ tree["lora_b"])}

    return merge


def turned(model: VLM, params: Params) -> tuple[VLM, Params]:
    """Kernels of the layers as [D_out, D_in], for passes over few tokens at a time.

    A CPU then takes a token of some twenty answers through a kernel up to half again as fast; many
    rows are as fast as before. Only where layers are one by one, without adapters, in float32.

    Args:
      model, params: see `VLM`.

    Returns:
      A model that reads its kernels so, and its parameters.

    Example: `turned(*unstacked(*merged(model, params)))`; no path in a layer ends in kernel.
    """
    language = model.language
    if language.turned or language.stacked or language.lora_rank or not _float32(model, params):
        return model, params
    clone = model.clone(language=language.clone(turned=True))
    return clone, {**params, "language": _turn(params["language"])}


def _turn(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "kernel" in tree:
        return {"turned": tree["kernel"].T}
    return {name: _turn(value) for name, value in tree.items()}


def _float32(model: VLM, params: Params) -> bool:
    """Whether the language model is, in storage and in arithmetic."""
    leaves = jax.tree.leaves(params["language"])
    kinds = {leaf.dtype for leaf in leaves} | {jnp.dtype(model.language.dtype)}
    return kinds == {jnp.dtype(jnp.float32)}
