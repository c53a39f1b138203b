"""Advantages of a group of responses from scalar scores: GRPO and its relatives.

The rivals of `advantages.rank_advantages`. All are zero-sum over the last axis (the group, G >= 2)
and zero where all scores are equal; none looks at the policy's own order. Scores are constants: no
gradient is meant to flow through them, and `losses.clipped_policy_loss` stops it.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Real


def standardised_advantages(
    scores: Real[ArrayLike, "*batch G"], epsilon: float = 1e-4
) -> Float[Array, "*batch G"]:
    """GRPO's z-score: A_i = (s_i - mean_j(s_j)) / (std_j(s_j) + epsilon).

    Source: arXiv 2402.03300, section 4.1.2. The paper does not say which deviation; this is the
    sample's (G - 1 in the denominator) with TRL's epsilon, so that the two libraries agree. The
    z-score removes a prompt's own offset and scale, but no other distortion of its scores.

    Example: `standardised_advantages(jnp.array([1.0, 0.0]))` is about [0.707, -0.707].
    """
    centred = centred_advantages(scores)
    size = centred.shape[-1]
    variance = jnp.sum(centred**2, axis=-1, keepdims=True) / max(size - 1, 1)
    return centred / (jnp.sqrt(variance) + epsilon)


def centred_advantages(scores: Real[ArrayLike, "*batch G"]) -> Float[Array, "*batch G"]:
    """Dr. GRPO's: A_i = s_i - mean_j(s_j); keeps the scale of the scores.

    Source: arXiv 2503.20783, section 3.2.

    Example: `centred_advantages(jnp.array([1.0, 0.0]))` is [0.5, -0.5].
    """
    scores = jnp.asarray(scores, jnp.float32)
    equal = jnp.all(scores == scores[..., :1], axis=-1, keepdims=True)  # else rounding may be left
    return jnp.where(equal, 0.0, scores - jnp.mean(scores, axis=-1, keepdims=True))


def leave_one_out_advantages(scores: Real[ArrayLike, "*batch G"]) -> Float[Array, "*batch G"]:
    """RLOO's: A_i = s_i - mean_{j != i}(s_j) = G / (G - 1) (s_i - mean_j(s_j)).

    The baseline of a response is the mean of the *others*, so it does not depend on the response
    and the estimate is unbiased. Source: arXiv 2402.14740, section 2.

    Example: `leave_one_out_advantages(jnp.array([1.0, 0.0]))` is [1, -1].
    """
    centred = centred_advantages(scores)
    size = centred.shape[-1]
    return centred * (size / max(size - 1, 1))
