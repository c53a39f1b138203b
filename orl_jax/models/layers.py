"""The unrolled way through a Llama's layers: each layer a call of its own, not a loop over a stack.

Decision: `Llama.unroll` alone chooses the way. Fewer layers than all are a loop over stacked
parameters, which compiles fast and needs little memory (7B models). All of them are unrolled here,
which is faster for a few small layers (the CPU demo), for three reasons:

- no kernel is sliced from its stack inside a loop over tokens, once it is split before that loop;
- each layer's cache is an array of its own, so a token is written into it in place, then read;
- the last layer computes only the queries that somebody reads.

Parameters are stacked in both ways, so checkpoints, optimisers and sharding see one tree;
`orl_jax.models.decoding_form` splits them once for a whole generation.
"""

from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from orl_jax.models.rotary import Rotation

Tree = dict[str, Any]


def split_layers(stack: Tree, count: int) -> Tree:
    """Parameters of each layer, {"0": ..., "1": ...}, from stacked ones [N, ...].

    Gradients reach the stack. What is split already is returned as it is.

    Example: `split_layers({"scale": jnp.ones((2, 8))}, 2)["1"]["scale"].shape == (8,)`.
    """
    if "0" in stack:
        return stack
    leaves, tree = jax.tree.flatten(stack)
    # By `split`, whose gradient is one concatenation; that of N slices is a sum of N stacks.
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
