"""PPO's per-token quantities: rewards, generalised advantage estimation, the clipped value loss.

Arrays are [..., T] over the tokens of a response. `mask` is true on response tokens, the end token
included: a prefix of each row, without gaps. Values outside the mask have no effect.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from orl_jax.ops.losses import masked_mean


class AdvantageEstimate(NamedTuple):
    """Per token, 0 outside the mask. `returns` are the targets of the value function."""

    advantages: Float[Array, "*batch T"]
    returns: Float[Array, "*batch T"]


def token_rewards(
    score: Float[Array, "*batch"],
    log_prob: Float[Array, "*batch T"],
    ref_log_prob: Float[Array, "*batch T"],
    mask: Bool[Array, "*batch T"],
    kl_coefficient: float,
) -> Float[Array, "*batch T"]:
    """-kl_coefficient (log pi - log pi_ref) at every token, plus the score at the last one.

    The k1 estimate of the KL, not clamped: it may be negative for single tokens, but its mean is
    unbiased (VLM-RLAIF clamps at 0, which adds a bias). Source: arXiv 1909.08593, section 2.

    Example: for a score of 1 and two tokens with unchanged log-probabilities, [0, 1].
    """
    last = mask & ~jnp.pad(mask[..., 1:], [(0, 0)] * (mask.ndim - 1) + [(0, 1)])
    drift = jnp.where(mask, log_prob - ref_log_prob, 0.0)
    return jnp.where(last, score[..., None], 0.0) - kl_coefficient * drift


def generalised_advantages(
    rewards: Float[Array, "*batch T"],
    values: Float[Array, "*batch T"],
    mask: Bool[Array, "*batch T"],
    *,
    gamma: float,
    lam: float,
) -> AdvantageEstimate:
    """A_t = delta_t + gamma lam A_{t+1}, delta_t = r_t + gamma V_{t+1} - V_t; returns are A + V.

    Source: arXiv 1506.02438, eq. 16. The value after the last token is 0.

    Args:
      values: V_t, of the state *before* token t.
      gamma: discount, in [0, 1].
      lam: in [0, 1]; 0 relies on the values, 1 on the observed rewards.

    Example: gamma = lam = 1, rewards [0, 1], values [0.2, 0.5]: advantages [0.8, 0.5], returns
    [1, 1].
    """
    rewards, values = (jnp.where(mask, x, 0.0) for x in (rewards, values))

    def backwards(carry: tuple[Array, Array], token: tuple[Array, Array]) -> tuple:
        next_advantage, next_value = carry
        reward, value = token
        advantage = reward + gamma * next_value - value + gamma * lam * next_advantage
        return (advantage, value), advantage

    over_time = tuple(jnp.moveaxis(x, -1, 0) for x in (rewards, values))
    zero = jnp.zeros_like(rewards[..., 0])
    _, advantages = jax.lax.scan(backwards, (zero, zero), over_time, reverse=True)
    advantages = jnp.where(mask, jnp.moveaxis(advantages, 0, -1), 0.0)
    return AdvantageEstimate(advantages, jnp.where(mask, advantages + values, 0.0))


def whiten(
    values: Float[Array, "*batch T"], mask: Bool[Array, "*batch T"], epsilon: float = 1e-8
) -> Float[Array, "*batch T"]:
    """(V - mean) / sqrt(variance + epsilon) over all tokens in the mask; 0 outside it.

    Example: two tokens with values 1 and 3 become -1 and 1.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return jnp.where(mask, (values - mean) * jax.lax.rsqrt(variance + epsilon), 0.0)


def clipped_value_loss(
    values: Float[Array, "*batch T"],
    old_values: Float[Array, "*batch T"],
    returns: Float[Array, "*batch T"],
    mask: Bool[Array, "*batch T"],
    clip: float,
    denominator: float | Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """mean(max((V - R)^2, (clip(V, V_old - clip, V_old + clip) - R)^2)) / 2 over the mask.

    Gradients flow through `values` only. Source: arXiv 2005.12729, section 3 (value clipping).

    Args:
      values, old_values: of the current value function, and of the one at the rollout.
      returns: see `AdvantageEstimate`.
      clip: how far V may move from V_old.
      denominator: see `losses.masked_mean`.

    Example: V = 1, V_old = 0, R = 2, clip = 0.2: max(1, 3.24) / 2 = 1.62.
    """
    old_values, returns = jax.lax.stop_gradient((old_values, returns))
    near = jnp.clip(values, old_values - clip, old_values + clip)
    errors = jnp.maximum((values - returns) ** 2, (near - returns) ** 2)
    return masked_mean(errors, mask, "token", denominator) / 2
