"""The loss of a scalar reward model on pairs of responses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class PreferenceLoss(NamedTuple):
    """The loss to minimise; how often the preferred response scores higher; the mean difference."""

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]
    margin: Float[Array, ""]


def preference_loss(
    preferred: Float[Array, " N"], rejected: Float[Array, " N"], centring: float = 1e-3
) -> PreferenceLoss:
    """mean(-log sigmoid(s_preferred - s_rejected)) + centring |mean(s_preferred + s_rejected)|.

    The Bradley-Terry model of pairs, with VLM-RLAIF's term that keeps the mean score near 0 (the
    differences do not determine it). Source: yonseivnl/vlm-rlaif at 610cac7, reward model;
    arXiv 2203.02155, eq. 1. In the accuracy, equal scores count one half.

    Example: where all scores are 0, the loss is log 2 = 0.6931 and the accuracy 0.5.
    """
    difference = preferred - rejected
    right = (difference > 0) + 0.5 * (difference == 0)
    drift = jnp.abs(jnp.mean(preferred + rejected))
    return PreferenceLoss(
        loss=-jnp.mean(jax.nn.log_sigmoid(difference)) + centring * drift,
        accuracy=jnp.mean(right.astype(jnp.float32)),
        margin=jnp.mean(difference),
    )
