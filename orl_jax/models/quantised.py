"""Frozen kernels in 4 or 8 bits (QLoRA, arXiv 2305.14314), as arrays that Orbax can store.

qwix quantises: NF4 or int8 codes, one scale for each block of a column. Two 4-bit codes share a
byte here, since neither Orbax nor XLA on CPU supports packed 4-bit arrays. A kernel [D_in, D_out]
becomes

    codes   uint8 [D_in / 2, D_out] (nf4: rows 2i and 2i + 1 in the low and the high half)
            int8 [D_in, D_out] (int8)
    scales  float32 [D_in / block, D_out]

Leading axes, such as that of stacked layers, are kept. Dequantising is element-wise, so it works on
any shard of a kernel.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from orl_jax.run.errors import UserError

KINDS = ("none", "nf4", "int8")
# The path of a quantised kernel; the group is the path of its module.
_CODES = re.compile(r"(.*/)codes")

Stored = dict[str, Array]


def quantise(kernel: Float[Array, "*lead D_in D_out"], kind: str, block: int) -> Stored:
    """The codes and scales of a kernel.

    Args:
      kernel: of any float type; it is quantised from float32.
      kind: nf4 | int8.
      block: number of rows that share a scale; must divide D_in.

    Raises:
      UserError: another kind; a block that does not divide D_in; with nf4, an odd D_in.

    Example: `quantise(jnp.ones((128, 8)), "nf4", 64)["codes"].shape == (64, 8)`.
    """
    _check(kind, block, kernel.shape[-2])
    rows = kernel.ndim - 2
    import qwix  # only here and below: it takes a third of a second

    array = qwix.quantize(
        kernel.astype(jnp.float32),
        kind if kind == "nf4" else jnp.int8,
        channelwise_axes=[axis for axis in range(kernel.ndim) if axis != rows],
        tiled_axes={rows: block},
    )
    codes = _pack(array.qvalue.astype(jnp.uint8)) if kind == "nf4" else array.qvalue
    return {"codes": codes, "scales": array.scale}


def dequantise(
    codes: Shaped[Array, "*lead R D_out"], scales: Float[Array, "*lead blocks D_out"]
) -> Float[Array, "*lead D_in D_out"]:
    """The kernel in float32, as `qwix.dequantize` gives it. The codes' dtype tells the kind."""
    values = _levels()[_unpack(codes)] if codes.dtype == jnp.uint8 else codes.astype(jnp.float32)
    *lead, rows, width = values.shape
    blocks = values.reshape(*lead, scales.shape[-2], rows // scales.shape[-2], width)
    return (blocks * scales[..., None, :]).reshape(values.shape)


@partial(jax.checkpoint, prevent_cse=False)
def quantised_matmul(
    x: Float[Array, "*batch D_in"],
    codes: Shaped[Array, "R D_out"],
    scales: Float[Array, "blocks D_out"],
) -> Float[Array, "*batch D_out"]:
    """`x @ dequantise(codes, scales)` in the type of `x`.

    The backward pass dequantises again: keeping the kernels would cost the memory that quantising
    saves.
    """
    return x @ dequantise(codes, scales).astype(x.dtype)


def quantise_like(
    given: Mapping[str, Any], shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, Any]:
    """Parameters by path, with those kernels quantised that the model holds quantised.

    Args:
      given: parameters by path, for example of a checkpoint.
      shapes: the model's parameters by path; their `codes` and `scales` tell the kind and block.

    Example: "layers/q/kernel" [2, 64, 8] becomes "layers/q/codes" and "layers/q/scales" where
    `shapes` holds these.
    """
    out = dict(given)
    for prefix in (match[1] for path in shapes if (match := _CODES.fullmatch(path))):
        kernel = out.pop(f"{prefix}kernel", None)
        if kernel is not None:
            codes, scales = shapes[f"{prefix}codes"], shapes[f"{prefix}scales"]
            kind = "nf4" if codes.dtype == jnp.uint8 else "int8"
            stored = quantise_stack(kernel, kind, kernel.shape[-2] // scales.shape[-2])
            out |= {f"{prefix}{name}": value for name, value in stored.items()}
    return out


@partial(jax.jit, static_argnums=(1, 2))
def quantise_stack(kernel: Float[Array, "*lead D_in D_out"], kind: str, block: int) -> Stored:
    """`quantise`, jitted, for one kernel or a stack of them.

    Quantising computes 16 distances per number, so the layers of a stack are done one by one to
    save memory.
    """
    if kernel.ndim == 2:
        return quantise(kernel, kind, block)
    return jax.lax.map(lambda layer: quantise(layer, kind, block), kernel)


def _levels() -> Float[Array, "16"]:
    """The 16 values of NF4, as qwix has them (appendix E of arXiv 2305.14314)."""
    import qwix

    codes, one = jnp.arange(16).astype(jnp.uint4), jnp.ones((1,), jnp.float32)
    return qwix.dequantize(qwix.QArray(codes, one, qtype="nf4"))


def _pack(codes: Shaped[Array, "*lead D_in D_out"]) -> Shaped[Array, "*lead R D_out"]:
    return codes[..., 0::2, :] | codes[..., 1::2, :] << 4


def _unpack(packed: Shaped[Array, "*lead R D_out"]) -> Shaped[Array, "*lead D_in D_out"]:
    *lead, rows, width = packed.shape
    pairs = jnp.stack([packed & 15, packed >> 4], axis=-2)
    return pairs.reshape(*lead, 2 * rows, width)


def _check(kind: str, block: int, rows: int) -> None:
    if kind not in KINDS[1:]:
        raise UserError(f"quantisation is {kind!r}; choose one of {', '.join(KINDS)}")
    if block < 1 or rows % block or (kind == "nf4" and rows % 2):
        divisors = [n for n in range(1, rows + 1) if rows % n == 0][-6:]
        raise UserError(
            f"quantisation_block is {block}; it must divide the {rows} rows of every kernel"
            f"{', which must be even for nf4' if kind == 'nf4' else ''}: for example "
            f"{', '.join(map(str, divisors))}"
        )
