"""Advantages of a group of responses: from the Oracle's ranks (GRPO_rank), or from scalar scores.

All sum to zero over the last axis (the group, G >= 2), and are zero where every response of the
group has the same rank or score. The forms from scores are GRPO and its relatives; they do not
depend on the policy's own order.

GRPO_rank is from arXiv 2510.02561 ("printed"). Deviations, all deliberate:

* "signed" is the form that we recommend. As printed, a response that the Oracle ranks first and the
  policy last gets the *most negative* advantage, so the policy is rewarded for agreeing with
  itself. "signed" measures the same disagreement with the sign corrected, and with `mix` < 1
  combines it with the Oracle's rank.
* The discount given in the paper's text does not reproduce its numbers; `discount="printed"` does.
* The paper does not cover ties. Here tied responses share gains, and a group whose responses the
  Oracle ranks all equal has zero advantage and penalty in both forms.

No `stop_gradient` is needed for gradients with respect to scores (only comparisons of ranks enter,
their gradient is zero), and none is applied: `losses.clipped_policy_loss` treats advantages as
constants.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Real

from orl_jax.ops.ranking import gains, ranks

FORMS = ("signed", "printed")


def rank_advantages(
    oracle_ranks: Real[ArrayLike, "*batch G"],
    predicted_ranks: Real[ArrayLike, "*batch G"] | None = None,
    *,
    form: str = "signed",
    mix: float = 0.0,
    discount: str = "log2",
) -> Float[Array, "*batch G"]:
    """Advantage of every response in its group; zero-sum and bounded in both forms.

    With delta = `rank_penalties`, g = `gains(oracle_ranks, discount)` and h as defined there:

      signed:  A_i = (1 - mix) (g_i - mean_j(g_j)) - mix delta_i
                   = g_i - (1 - mix) mean_j(g_j) - mix h_i
      printed: A_i = mean_j(delta_j) - delta_i

    Args:
      oracle_ranks: 0 is best; equal ranks are ties. A group without a valid ranking must hold
        finite values (for example zeros) and be masked out of the loss.
      predicted_ranks: the policy's own order, e.g. `predicted_order.predicted_ranks`; "signed" with
        mix 0 does not need it.
      form: "signed" or "printed". "printed" does not imply a discount: the paper's numbers need
        `form="printed", discount="printed"`.
      mix: in [0, 1], "signed" only: 0 uses only the Oracle's rank; 1 uses only the penalty with its
        sign corrected, which is zero exactly where the policy's order agrees with the Oracle's weak
        order. Above 0, with the paper's predicted order, the longest response of a group is paid
        for its length; see `predicted_order`. Static under `jit`.
      discount: see `ranking.gains`.

    Returns:
      float32; signed values lie in (-1, 1) for "log2". Zero where the Oracle ties the whole group.

    Raises:
      ValueError: unknown form or discount, mix outside [0, 1], missing predicted ranks.

    Example: `rank_advantages(jnp.array([0, 1]))` is [0.1845, -0.1845].
    """
    if not 0 <= mix <= 1:
        raise ValueError(f"mix is {mix}; it must be in [0, 1]")
    gain = gains(oracle_ranks, discount)
    centred = gain - jnp.mean(gain, axis=-1, keepdims=True)
    centred = jnp.where(_tied_whole(oracle_ranks), 0.0, centred)
    if form == "signed" and mix == 0:
        return centred
    if predicted_ranks is None:
        raise ValueError(f"form {form!r} needs predicted_ranks, except signed with mix 0")
    delta = rank_penalties(oracle_ranks, predicted_ranks, form=form, discount=discount)
    if form == "printed":
        return jnp.mean(delta, axis=-1, keepdims=True) - delta
    return (1 - mix) * centred - mix * delta


def rank_penalties(
    oracle_ranks: Real[ArrayLike, "*batch G"],
    predicted_ranks: Real[ArrayLike, "*batch G"],
    *,
    form: str = "signed",
    discount: str = "log2",
) -> Float[Array, "*batch G"]:
    """The penalty delta of every response: how far the two orders disagree about it.

      signed:  delta_i = h_i - g_i, where h_i averages `gains(predicted_ranks)` over the responses
               that the Oracle ties with i (an order within a tie is neither right nor wrong);
               zero-sum; positive where the policy ranks the response *too high*
      printed: delta_i = 1 - D(p_i) / D(r_i), positive where the policy ranks it *too low*

    D of a tied rank is the shared gain of `ranking.gains`. Zero where the Oracle ties the whole
    group.

    Args, raises: see `rank_advantages`.

    Example: the better of two responses, ranked second by the policy, has the printed delta
    1 - D(1) / D(0) = 0.2075 (`form="printed", discount="printed"`).
    """
    if form not in FORMS:
        raise ValueError(f"unknown form {form!r}; choose one of {', '.join(FORMS)}")
    oracle_gain, predicted_gain = gains(oracle_ranks, discount), gains(predicted_ranks, discount)
    if form == "printed":
        delta = 1 - predicted_gain / oracle_gain
    else:
        delta = _mean_over_ties(predicted_gain, oracle_ranks) - oracle_gain
    return jnp.where(_tied_whole(oracle_ranks), 0.0, delta)


def linear_rank_advantages(
    oracle_ranks: Real[ArrayLike, "*batch G"],
) -> Float[Array, "*batch G"]:
    """GOPO's advantage, linear in the Oracle's rank: A_i = 2 - 4 r_i / (G - 1), in [-2, 2].

    Source: arXiv 2602.03876 (there with ranks from 1). Deviation: ties share their mean rank, so
    every group is zero-sum and a fully tied group has no signal.

    Args:
      oracle_ranks: 0 is best; ties share a rank, in any of the conventions of `gains`. G >= 2.

    Example: `linear_rank_advantages(jnp.array([0, 1, 2]))` is [2, 0, -2].
    """
    mean_ranks = ranks(-jnp.asarray(oracle_ranks, jnp.float32))
    last = mean_ranks.shape[-1] - 1
    return (last / 2 - mean_ranks) * (4 / last)  # exactly 0 for the middle rank, compiled or not


def standardised_advantages(
    scores: Real[ArrayLike, "*batch G"], epsilon: float = 1e-4
) -> Float[Array, "*batch G"]:
    """GRPO's z-score: A_i = (s_i - mean_j(s_j)) / (std_j(s_j) + epsilon).

    Source: arXiv 2402.03300, section 4.1.2. The paper does not say which standard deviation; this
    is the sample's (G - 1 in the denominator) with TRL's epsilon, so that the two libraries agree.
    The z-score removes each prompt's offset and scale, but no other distortion of its scores.

    Example: `standardised_advantages(jnp.array([1.0, 0.0]))` is about [0.707, -0.707].
    """
    centred = centred_advantages(scores)
    size = centred.shape[-1]
    variance = jnp.sum(centred**2, axis=-1, keepdims=True) / max(size - 1, 1)
    return centred / (jnp.sqrt(variance) + epsilon)


def centred_advantages(scores: Real[ArrayLike, "*batch G"]) -> Float[Array, "*batch G"]:
    """Dr. GRPO's advantage, A_i = s_i - mean_j(s_j); keeps the scale of the scores.

    Source: arXiv 2503.20783, section 3.2.

    Example: `centred_advantages(jnp.array([1.0, 0.0]))` is [0.5, -0.5].
    """
    scores = jnp.asarray(scores, jnp.float32)
    equal = jnp.all(scores == scores[..., :1], axis=-1, keepdims=True)  # no rounding error
    return jnp.where(equal, 0.0, scores - jnp.mean(scores, axis=-1, keepdims=True))


def leave_one_out_advantages(scores: Real[ArrayLike, "*batch G"]) -> Float[Array, "*batch G"]:
    """RLOO's advantage, A_i = s_i - mean_{j != i}(s_j) = G / (G - 1) (s_i - mean_j(s_j)).

    The baseline of a response is the mean score of the *others*, which does not depend on the
    response, so the estimate is unbiased. Source: arXiv 2402.14740, section 2.

    Example: `leave_one_out_advantages(jnp.array([1.0, 0.0]))` is [1, -1].
    """
    centred = centred_advantages(scores)
    size = centred.shape[-1]
    return centred * (size / max(size - 1, 1))


def _mean_over_ties(values: Array, given: ArrayLike) -> Array:
    """Mean of `values` [..., G] over the responses with the same `given` rank, itself included."""
    given = jnp.asarray(given)
    tied = (given[..., :, None] == given[..., None, :]).astype(values.dtype)
    return jnp.sum(tied * values[..., None, :], axis=-1) / jnp.sum(tied, axis=-1)


def _tied_whole(given: ArrayLike) -> Bool[Array, "..."]:
    given = jnp.asarray(given)
    return jnp.all(given == given[..., :1], axis=-1, keepdims=True)
