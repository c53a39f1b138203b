"""Advantages from scores: by hand, against TRL's arithmetic, and by property."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orl_jax.ops.advantages import (
    centred_advantages,
    leave_one_out_advantages,
    linear_rank_advantages,
    standardised_advantages,
)
from orl_jax.ops.ranking import ranks

FORMS = (centred_advantages, leave_one_out_advantages, standardised_advantages)
modes = pytest.mark.parametrize("mode", [lambda f: f, jax.jit], ids=["plain", "jit"])
SCORES = jnp.array([1.0, 0.0, 2.0, 1.0])


@modes
def test_by_hand(mode):
    # mean 1; the others of the first: (0 + 2 + 1) / 3 = 1; of the second 4/3; of the third 2/3
    np.testing.assert_allclose(mode(centred_advantages)(SCORES), [0, -1, 1, 0], atol=1e-6)
    expected = [0, -4 / 3, 4 / 3, 0]
    np.testing.assert_allclose(mode(leave_one_out_advantages)(SCORES), expected, atol=1e-6)
    # sample deviation sqrt(2 / 3) = 0.8165; 1 / 0.8166 = 1.22460
    expected = [0, -1.2246, 1.2246, 0]
    np.testing.assert_allclose(mode(standardised_advantages)(SCORES), expected, atol=1e-4)


@modes
def test_linear_in_rank_by_hand(mode):
    of = mode(linear_rank_advantages)
    np.testing.assert_allclose(of(jnp.array([0, 1, 2, 3, 4])), [2, 1, 0, -1, -2], atol=1e-6)
    # the two tied in the places 1 and 2 share 1.5, whichever of them names the tie
    expected = [2, 2 - 4 * 1.5 / 3, 2 - 4 * 1.5 / 3, -2]
    np.testing.assert_allclose(of(jnp.array([0, 1.5, 1.5, 3])), expected, atol=1e-6)
    np.testing.assert_allclose(of(jnp.array([0, 1, 1, 3])), expected, atol=1e-6)


def test_leave_one_out_is_the_mean_of_the_others():
    scores = np.random.default_rng(0).normal(size=(7, 5))
    expected = [[row[i] - np.delete(row, i).mean() for i in range(5)] for row in scores]
    np.testing.assert_allclose(leave_one_out_advantages(scores), expected, atol=1e-6)


shapes = st.tuples(st.just(3), st.integers(2, 8))
groups = arrays(np.float32, shapes, elements=st.floats(-9, 9, width=32))


@settings(deadline=None, max_examples=40)
@given(groups)
def test_zero_sum_and_in_the_order_of_the_scores(scores):
    for form in (*FORMS, lambda s: linear_rank_advantages(ranks(s))):
        advantages = np.asarray(form(scores))
        assert np.abs(advantages.sum(axis=-1)).max() < 1e-3
        order = np.sign(scores[:, :, None] - scores[:, None, :])
        difference = advantages[:, :, None] - advantages[:, None, :]
        assert (difference * order >= -1e-4).all()


@pytest.mark.parametrize("form", FORMS)
def test_equal_scores_have_no_signal(form):
    assert (form(jnp.full((2, 5), 0.1)) == 0).all()


def test_a_scale_of_its_own_is_removed_by_the_z_score_alone():
    for form, same in ((standardised_advantages, True), (centred_advantages, False)):
        one, other = form(SCORES), form(10 * SCORES + 3)
        assert np.allclose(one, other, atol=1e-3) == same
    bent = standardised_advantages(SCORES**3)  # the same order, other gaps
    assert not np.allclose(bent, standardised_advantages(SCORES), atol=1e-2)
