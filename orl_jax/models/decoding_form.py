"""The form of a model that decodes fastest; what is special to small models on CPUs is all here.

A generation runs every kernel once a token, so it pays to prepare the parameters before its loop:

- adapters are merged into their kernels, W + (alpha / rank) A B;
- layers that are unrolled (`Llama.unroll`) are split once, see `orl_jax.models.layers`;
- their kernels are transposed, [D_out, D_in]: a CPU then takes a token of some twenty answers
  through a kernel up to half again as fast, and many rows as fast as before.

Decision: one function, and the parameters tell the rest of the code what was done to them. Split
layers are named by their numbers (`layers/0`), a transposed kernel is called `transposed`, and
`layers.split_layers` and `dense.product` take what they find. No module has a field for it. A
model in a loop over its layers, quantised or in bfloat16 keeps what does not fit it: another form
would copy its kernels, or round a merged kernel to another policy than the one that is trained.
"""

from typing import Any

import jax
import jax.numpy as jnp

from orl_jax.models.layers import split_layers
from orl_jax.models.vlm import VLM

Params = dict[str, Any]


def decoding_form(model: VLM, params: Params) -> tuple[VLM, Params]:
    """The same policy, prepared for many passes over few tokens without a gradient.

    Pure; meant for the inside of a jitted function, before its loop over tokens.

    Args:
      model, params: see `VLM`.

    Returns:
      The model, without adapters where they were merged, and its parameters. Both are the given
      ones where there is nothing to prepare, so a second call changes nothing.

    Example: `model, params = decoding_form(model, params)`; with float32 and all layers unrolled
      `params["language"]["layers"]["0"]["q"]` holds only `transposed`.
    """
    language, tree = model.language, params["language"]
    precise = _float32(tree, language.dtype)
    if precise and language.lora_rank:
        tree = _merge(tree, language.lora_alpha / language.lora_rank)
        model = model.clone(language=language.clone(lora_rank=0))
    if language.unrolled and "0" not in tree["layers"]:
        layers = split_layers(tree["layers"], language.layers)
        tree = {**tree, "layers": _transpose(layers) if precise else layers}
    return model, params if tree is params["language"] else {**params, "language": tree}


def _float32(tree: Params, dtype: Any) -> bool:
    """Whether the language model is, in storage and in arithmetic."""
    kinds = {leaf.dtype for leaf in jax.tree.leaves(tree)} | {jnp.dtype(dtype)}
    return kinds == {jnp.dtype(jnp.float32)}


def _merge(tree: Any, scale: float) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "lora_a" not in tree:
        return {name: _merge(value, scale) for name, value in tree.items()}
    return {"kernel": tree["kernel"] + scale * (tree["lora_a"] @ tree["lora_b"])}


def _transpose(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "kernel" in tree:
        return {"transposed": tree["kernel"].T}
    return {name: _transpose(value) for name, value in tree.items()}
