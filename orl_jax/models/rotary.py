"""Rotary positions (arXiv 2104.09864) and the ways to stretch them over longer texts.

Frequencies follow `transformers` (`modeling_rope_utils.py`: default, linear, llama3), and so does
the pairing of channels (rotate-half).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from orl_jax.models.sharding.mesh import BATCH
from orl_jax.models.sharding.order import row_major
from orl_jax.run.errors import UserError

SCALINGS = ("none", "linear", "llama3")


class RotaryScaling(NamedTuple):
    """How frequencies are stretched; the fields `rope_*` of `Llama`.

    Attributes:
      kind: none | linear (all frequencies divided by `factor`) | llama3 (only slow ones).
      factor: of linear and llama3, 1 or more.
      low_frequency, high_frequency: of llama3, in turns over `original_length`: a frequency of
        fewer turns than the first is divided by `factor`, one of more turns than the second is
        kept, and those in between are interpolated.
      original_length: of llama3, the context length of the original training, in tokens.

    Example: Llama 3.1 has `RotaryScaling("llama3", 8.0, 1.0, 4.0, 8192)`.
    """

    kind: str = "none"
    factor: float = 1.0
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    original_length: int = 8192


def rotary_angles(
    positions: Int[Array, "*batch"],
    head_width: int,
    base: float,
    scaling: RotaryScaling = RotaryScaling(),  # noqa: B008  (a tuple)
) -> Float[Array, "*batch half"]:
    """Angles of the rotary embedding, in float32: position times frequency, which without scaling
    is `base^(-2i / head_width)`.

    Raises:
      UserError: see `scale_frequencies`.

    Example: `rotary_angles(jnp.array([0, 1, 20]), 4, 100.0)` is [[0, 0], [1, 0.1], [20, 2]].
    """
    exponents = jnp.arange(0, head_width, 2, dtype=jnp.float32) / head_width
    return positions[..., None].astype(jnp.float32) * scale_frequencies(base**-exponents, scaling)


class Rotation(NamedTuple):
    """Cosines and sines of rotary angles, float32."""

    cos: Float[Array, "*batch half"]
    sin: Float[Array, "*batch half"]

    @classmethod
    def by(cls, angles: Float[Array, "*batch half"]) -> "Rotation":
        """By `angles`, computed once; XLA would otherwise recompute them for every head.

        Example: `Rotation.by(jnp.array([0.0]))` is ([1.0], [0.0]).
        """
        axes = (BATCH, *(None,) * (angles.ndim - 1))
        return cls(row_major(jnp.cos(angles), *axes), row_major(jnp.sin(angles), *axes))


def scale_frequencies(
    frequencies: Float[Array, " half"], scaling: RotaryScaling
) -> Float[Array, " half"]:
    """Frequencies (radians per token), stretched by `scaling`.

    Raises:
      UserError: an unknown kind, or low_frequency not below high_frequency.

    Example: `scale_frequencies(jnp.array([1.0]), RotaryScaling("linear", 4.0))` is [0.25].
    """
    if scaling.kind == "none":
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind != "llama3":
        raise UserError(f"rope_scaling is {scaling.kind!r}; choose one of {', '.join(SCALINGS)}")
    low, high = scaling.low_frequency, scaling.high_frequency
    if low >= high:
        raise UserError(
            f"rope_low_frequency is {low}; it must be below rope_high_frequency = {high}, "
            "for example 1.0 and 4.0"
        )
    turns = scaling.original_length * frequencies / (2 * math.pi)
    kept = jnp.clip((turns - low) / (high - low), 0.0, 1.0)  # share of the frequency that stays
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


def rotate(x: Float[Array, "*batch H K"], rotation: Rotation) -> Float[Array, "*batch H K"]:
    """Rotates the two halves of each head against each other, in float32; keeps the dtype of `x`.

    Example: a head [1, 2, 0, 0] by angles [π/2, π] becomes [0, -2, 1, 0].
    """
    cos, sin = rotation.cos[..., None, :], rotation.sin[..., None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
