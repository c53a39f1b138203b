"""Runs a Llama's layers one by one, where they are not a loop over stacked parameters.

Decision: `Llama.unroll` alone chooses. With fewer layers at a time than there are, they are a loop,
which compiles fast and needs little memory (7B models). With all of them, they run here, which is
faster for a few small layers (the CPU demo):

- a loop over tokens does not slice kernels from their stack, since they are split before it;
- each layer's cache is a separate array: a token is written into it in place, then read;
- the last layer computes only the hidden states that are read.

Parameters are stacked either way, so checkpoints, optimisers and sharding see the same tree. For a
generation, `orl_jax.models.decoding_form` splits them once.
"""

from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from orl_jax.models.rotary import Rotation

Tree = dict[str, Any]


def split_layers(stack: Tree, count: int) -> Tree:
    """Parameters of each layer, {"0": ..., "1": ...}, from stacked ones [N, ...].

    Gradients reach the stack. Parameters that are already split are returned unchanged.

    Example: `split_layers({"scale": jnp.ones((2, 8))}, 2)["1"]["scale"].shape == (8,)`.
    """
    if "0" in stack:
        return stack
    leaves, tree = jax.tree.flatten(stack)
    # The gradient of `split` is one concatenation; that of N slices would be a sum of N stacks.
    split = [jax.lax.split(leaf, (1,) * count) for leaf in leaves]
    return {
        str(index): tree.unflatten([part[0] for part in parts])
        for index, parts in enumerate(zip(*split, strict=True))
    }


def one_by_one(
    block: nn.Module,
    layers: Tree,
    x: Float[Array, "B G T D"],
    rotation: Rotation,
    masks: tuple[Bool[Array, "B _ _ _"], ...],
    past: tuple[tuple[tuple[Array, ...], tuple[Array, ...]], ...],
    *,
    remat: bool,
    last_only: bool,
    step: Int[Array, ""] | None,
) -> tuple[Float[Array, "B G _ D"], tuple[tuple[Array, ...], tuple[Array, ...]]]:
    """Hidden states after all layers, and the keys and values of each.

    Args:
      block: a `LlamaBlock` without a parent.
      layers: see `split_layers`.
      masks, past: of each segment; keys and values are tuples, an array for each layer.
      remat: computes a layer again in the backward pass.
      last_only, step: see `Llama.__call__`.
    """

    def apply(params: Tree, *inputs: Any) -> Any:
        return block.apply({"params": params}, *inputs)

    run = jax.checkpoint(apply, prevent_cse=False) if remat else apply
    if step is not None:  # a token is written into its segment, then read from there
        *masks, before, new = masks
        masks = (*masks, before.at[..., step].set(new[..., 0]))
    found = []
    for index in range(len(layers)):
        if last_only and index == len(layers) - 1:
            masks = tuple(mask[:, :, -1:] for mask in masks)
        own = tuple((keys[index], values[index]) for keys, values in past)
        with jax.named_scope(f"layer_{index}"):
            x, segment = run(layers[str(index)], x, rotation, tuple(masks), own, step)
        found.append(segment)
    keys, values = zip(*found, strict=True)
    return x, (keys, values)
