"""The policy's own order: by hand, per token, against the reference, and without overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_jax.ops.predicted_order import PREDICTED, predicted_ranks

# Three responses of 3, 1 and 2 tokens; what lies outside of the mask is absurd.
LOG_PROB = jnp.array([[-1.0, -1.0, -1.0], [-2.0, -jnp.inf, 9.0], [-0.5, -3.0, jnp.nan]])
REFERENCE = jnp.array([[-1.5, -1.0, -1.0], [-2.0, 0.0, -jnp.inf], [-1.0, -3.25, 7.0]])
MASK = jnp.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], bool)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("sum", [1, 0, 2]),  # -3, -2, -3.5
        ("mean", [0, 2, 1]),  # -1, -2, -1.75
        ("ratio", [1, 2, 0]),  # 0.5, 0, 0.75
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_by_hand(by, expected, compiled):
    rank = jax.jit(predicted_ranks, static_argnames="by") if compiled else predicted_ranks
    found = rank(LOG_PROB, MASK, by=by, ref_log_prob=REFERENCE)
    np.testing.assert_array_equal(found, expected)
    batch = rank(LOG_PROB[None, None], MASK[None, None], by=by, ref_log_prob=REFERENCE[None, None])
    np.testing.assert_array_equal(batch[0, 0], expected)


def test_before_the_first_update_the_ratio_ties_all():
    np.testing.assert_array_equal(predicted_ranks(LOG_PROB, MASK, "ratio", LOG_PROB), [1, 1, 1])


def test_responses_without_tokens_are_no_nan():
    nothing = jnp.zeros_like(MASK)
    for by in PREDICTED:
        np.testing.assert_array_equal(predicted_ranks(LOG_PROB, nothing, by, REFERENCE), [1, 1, 1])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_only_the_sum_and_the_mean_depend_on_tokens_that_the_reference_likes_as_much(seed):
    """A longer response whose further tokens have a ratio of 1 keeps its place by the ratio."""
    rng = np.random.default_rng(seed)
    log_prob = jnp.array(-rng.exponential(size=(4, 5)), jnp.float32)
    reference = log_prob.at[:, :3].add(jnp.array(rng.normal(size=(4, 3)), jnp.float32))
    short = jnp.arange(5) < jnp.full((4, 1), 3)
    longer = jnp.arange(5) < jnp.array([[5], [3], [3], [3]])
    before, after = (predicted_ranks(log_prob, m, "ratio", reference) for m in (short, longer))
    np.testing.assert_array_equal(before, after)
    by_sum = [predicted_ranks(log_prob, m, "sum")[0] for m in (short, longer)]
    assert by_sum[1] >= by_sum[0]  # the longer it is, the later it comes


def test_refusals():
    with pytest.raises(
        ValueError, match="unknown predicted order 'total'; choose one of sum, mean, ratio"
    ):
        predicted_ranks(LOG_PROB, MASK, "total")
    with pytest.raises(ValueError, match="'ratio' needs ref_log_prob"):
        predicted_ranks(LOG_PROB, MASK, "ratio")
