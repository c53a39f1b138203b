"""The form of a model that decodes fastest; everything specific to small models on CPUs is here.

A generation uses every kernel once per token, so it pays to prepare them before its loop:

- adapters are merged into their kernels, W + (alpha / rank) A B;
- layers that run one by one (`Llama.unroll`) are split once, see `orl_jax.models.layers`;
- their kernels are transposed to [D_out, D_in]: a CPU then takes one token of some twenty answers
  through a kernel up to half again as fast, and many rows as fast as before.

Decision: one function, and the parameters themselves tell what was done to them. Split layers are
named by number (`layers/0`), a transposed kernel is called `transposed`; `layers.split_layers` and
`dense.product` use what they find, so no module has a field for the form. Kernels of a loop over
layers are merged but not split. Where kernels are quantised or anything is in bfloat16, they are
neither merged nor transposed: rounding a merged kernel would change the policy.
"""

from typing import Any

import jax
import jax.numpy as jnp

from orl_jax.models.layers import split_layers
from orl_jax.models.vlm import VLM

Params = dict[str, Any]


def decoding_form(model: VLM, params: Params) -> tuple[VLM, Params]:
    """The same policy, prepared for many passes over few tokens without a gradient.

    Pure; meant to be called inside a jitted function, before its loop over tokens.

    Args:
      model, params: see `VLM`.

    Returns:
      The model, without adapters if they were merged, and its parameters. Where there is nothing to
      prepare, both are the given objects; so a second call changes nothing.

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
    """Whether the language model is in float32, both in storage and in arithmetic."""
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
