"""The clipped policy loss, KL estimates, and the masked means that reduce them.

Arrays are per token, [..., G, T]. Advantages are [..., G], one for all tokens of a response, or
also per token. `mask` is true on response tokens (the end token included). A group without a valid
ranking has an all-zero mask, and so counts in neither numerator nor denominator.

To accumulate gradients over micro-batches of whole groups, compute `mask_denominator` once over the
full batch and pass it to every call: the micro-batches' losses (and gradients) then add up to the
full batch's.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

NORMALISATIONS = ("token", "sequence", "constant")
KL_KINDS = ("k1", "k2", "k3")

Mask = Float[Array, "*batch T"] | Bool[Array, "*batch T"]
GroupMask = Float[Array, "*batch G T"] | Bool[Array, "*batch G T"]


class PolicyLoss(NamedTuple):
    """The loss to minimise and its metrics; all scalars.

    The metrics are over the tokens of this call, whatever the normalisation; weight them by
    `tokens` to combine micro-batches. With an empty mask all are 0.
    """

    loss: Float[Array, ""]
    ratio_mean: Float[Array, ""]
    ratio_max: Float[Array, ""]
    clip_low_fraction: Float[Array, ""]
    clip_high_fraction: Float[Array, ""]
    tokens: Float[Array, ""]


def clipped_policy_loss(
    log_prob: Float[Array, "*batch G T"],
    old_log_prob: Float[Array, "*batch G T"],
    advantages: Float[Array, "*batch G"] | Float[Array, "*batch G T"],
    mask: GroupMask,
    *,
    clip_low: float,
    clip_high: float,
    clip_dual: float = 0.0,
    weights: GroupMask | None = None,
    normalisation: str = "token",
    denominator: float | Float[Array, ""] | None = None,
) -> PolicyLoss:
    """-mean(min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)), ratio = pi / pi_old.

    PPO's surrogate (arXiv 1707.06347, eq. 7) with DAPO's two limits (arXiv 2503.14476). Gradients
    flow through `log_prob` only. With ratio = 1 (one update per rollout) nothing is clipped.

    Args:
      log_prob, old_log_prob: of the sampled tokens under the current and the sampling policy.
      advantages: one per response, for all of its tokens; or one per token (PPO).
      mask: see the module docstring; values outside are ignored.
      clip_low, clip_high: distances from 1 at which the ratio is clipped, e.g. 0.2 and 0.28.
      clip_dual: c > 1: where the advantage is negative the surrogate is at least c A, however large
        the ratio (arXiv 1912.09729, eq. 5; TRL's delta); 0 sets no such bound.
      weights: factors of the tokens' surrogates, such as `sampler_weights`; constants.
      normalisation, denominator: see `masked_mean`.

    Raises:
      ValueError: unknown normalisation.

    Example: one token with ratio 1.5 and advantage 2, clip_high = 0.28: -min(3, 2.56) = -2.56.
    """
    advantages = jax.lax.stop_gradient(advantages)
    if advantages.ndim < log_prob.ndim:
        advantages = advantages[..., None]
    log_ratio = log_prob - jax.lax.stop_gradient(old_log_prob)
    inside = mask.astype(bool)
    ratio = jnp.exp(jnp.where(inside, log_ratio, 0.0))  # before exp: no overflow from padding
    clipped = jnp.clip(ratio, 1 - clip_low, 1 + clip_high)
    surrogate = jnp.minimum(ratio * advantages, clipped * advantages)
    if clip_dual:
        surrogate = jnp.where(
            advantages < 0, jnp.maximum(surrogate, clip_dual * advantages), surrogate
        )
    if weights is not None:
        surrogate *= jax.lax.stop_gradient(weights)
    low = (ratio < 1 - clip_low) & (advantages < 0)
    high = (ratio > 1 + clip_high) & (advantages > 0)
    return PolicyLoss(
        loss=-masked_mean(surrogate, mask, normalisation, denominator),
        ratio_mean=masked_mean(jax.lax.stop_gradient(ratio), mask),
        ratio_max=jnp.max(jnp.where(inside, jax.lax.stop_gradient(ratio), 0.0), initial=0.0),
        clip_low_fraction=masked_mean(low.astype(ratio.dtype), mask),
        clip_high_fraction=masked_mean(high.astype(ratio.dtype), mask),
        tokens=jnp.sum(mask.astype(ratio.dtype)),
    )


def sampler_weights(
    old_log_prob: Float[Array, "*batch T"], sampled_log_prob: Float[Array, "*batch T"], cap: float
) -> Float[Array, "*batch T"]:
    """Truncated importance sampling: min(pi_old / pi_sampler, cap), per token.

    Corrects the loss for a sampler whose probabilities differ from the training graph's, by its
    rounding or another implementation; the cap bounds the variance. Source: Yao et al. 2025, "Your
    efficient RL framework secretly brings you off-policy RL training"; TRL's
    vllm_importance_sampling_cap.

    Args:
      old_log_prob: of the sampled tokens, in the training graph, under the policy that sampled.
      sampled_log_prob: what the sampler said.
      cap: above 1, e.g. 2.

    Example: log-probabilities -1 and -1.5, cap 2: e^0.5 = 1.6487.
    """
    return jnp.exp(jnp.minimum(old_log_prob - sampled_log_prob, math.log(cap)))


def kl_estimate(
    log_prob: Float[Array, "*batch T"],
    ref_log_prob: Float[Array, "*batch T"],
    kind: str = "k3",
    mask: Mask | None = None,
) -> Float[Array, "*batch T"]:
    """Per-token estimate of KL(pi || pi_ref) from tokens sampled from pi; d = log pi_ref - log pi.

      k1: -d             unbiased, may be negative
      k2: d^2 / 2        biased, never negative
      k3: e^d - d - 1    unbiased, never negative

    Used as a loss on sampled tokens, their expected gradients differ: zero for k1 (so log it only),
    that of KL(pi || pi_ref) for k2, that of KL(pi_ref || pi) for k3.

    Source: Schulman, "Approximating KL divergence" (2020). The reference is a constant. "k3" is not
    clamped: d > 88 overflows float32, and the overflow should be visible.

    Args:
      mask: where given, values and gradients outside are 0, so an overflow in padding is harmless.

    Raises:
      ValueError: unknown kind.

    Example: log pi = -1, log pi_ref = -1.5: k1 0.5, k2 0.125, k3 0.1065.
    """
    difference = jax.lax.stop_gradient(ref_log_prob) - log_prob
    if mask is not None:
        difference = jnp.where(mask.astype(bool), difference, 0.0)
    if kind == "k1":
        return -difference
    if kind == "k2":
        return difference**2 / 2
    if kind == "k3":
        return jnp.expm1(difference) - difference  # expm1 is accurate where the policies are close
    raise ValueError(f"unknown KL estimate {kind!r}; choose one of {', '.join(KL_KINDS)}")


def masked_mean(
    values: Float[Array, "*batch T"],
    mask: Mask,
    normalisation: str = "token",
    denominator: float | Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Mean of the values inside the mask; 0 where the mask is empty.

      token:    sum over tokens / number of tokens (DAPO, arXiv 2503.14476)
      sequence: mean of each response, then the mean over responses (GRPO, arXiv 2402.03300)
      constant: sum over tokens / (responses x T), whatever their lengths (Dr. GRPO, 2503.20783)

    Responses with an empty mask do not count. Values outside the mask are ignored, even infinite
    ones.

    Args:
      mask: bool, or float weights.
      denominator: `mask_denominator` of the full batch; None takes that of this call's mask.

    Raises:
      ValueError: unknown normalisation.

    Example: `masked_mean(entropy, mask)` is the entropy bonus per token.
    """
    own_denominator = mask_denominator(mask, normalisation)  # checks the name as well
    denominator = own_denominator if denominator is None else denominator
    weight = mask.astype(values.dtype)
    if normalisation == "sequence":
        weight = _divide(weight, jnp.sum(weight, axis=-1, keepdims=True))
    total = jnp.sum(jnp.where(weight > 0, values, 0.0) * weight)
    return _divide(total, jnp.asarray(denominator, values.dtype))


def response_sum(values: Float[Array, "*batch T"], mask: Mask) -> Float[Array, "*batch"]:
    """Sum over each response's tokens; values outside the mask are ignored, even infinite ones.

    Example: `response_sum(log_prob, mask)` is the log-probability of every response.
    """
    inside = mask.astype(bool)
    return jnp.sum(jnp.where(inside, values, 0.0), axis=-1)


def mask_denominator(mask: Mask, normalisation: str = "token") -> Float[Array, ""]:
    """What `masked_mean` divides by: tokens, responses, or responses x T.

    The denominators of micro-batches add up to that of the full batch.

    Raises:
      ValueError: unknown normalisation.

    Example: `mask_denominator(jnp.array([[1, 1], [1, 0]]))` is 3; with "sequence" it is 2.
    """
    if normalisation not in NORMALISATIONS:
        choices = ", ".join(NORMALISATIONS)
        raise ValueError(f"unknown normalisation {normalisation!r}; choose one of {choices}")
    if normalisation == "token":
        return jnp.sum(mask, dtype=jnp.float32)
    responses = jnp.sum(jnp.any(mask.astype(bool), axis=-1), dtype=jnp.float32)
    return responses * mask.shape[-1] if normalisation == "constant" else responses


def _divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, and 0 where the denominator is 0."""
    empty = denominator == 0
    return jnp.where(empty, 0.0, numerator / jnp.where(empty, 1.0, denominator))
