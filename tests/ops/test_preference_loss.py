"""The loss on pairs: by hand, against scipy's logistic gradient, and at its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from orl_jax.ops.preference_loss import preference_loss


def test_by_hand():
    # differences 1 and -1: -log sigmoid = 0.313262, 1.313262; mean of sums (3 - 1) / 2 = 1
    out = preference_loss(jnp.array([2.0, -1.0]), jnp.array([1.0, 0.0]), centring=0.1)
    assert float(out.loss) == pytest.approx((0.3132617 + 1.3132617) / 2 + 0.1 * 1, abs=1e-6)
    assert float(out.accuracy) == 0.5
    assert float(out.margin) == 0


def test_ties_count_one_half():
    out = preference_loss(jnp.zeros(3), jnp.zeros(3))
    assert float(out.loss) == pytest.approx(np.log(2), abs=1e-6)
    assert float(out.accuracy) == 0.5


def test_gradient_matches_bradley_terry():
    preferred, rejected = (jax.random.normal(jax.random.key(i), (6,)) for i in (0, 1))
    of = jax.grad(lambda *x: preference_loss(*x, centring=0.0).loss, (0, 1))(preferred, rejected)
    expected = -expit(np.asarray(rejected - preferred)) / 6
    np.testing.assert_allclose(of[0], expected, atol=1e-6)
    np.testing.assert_allclose(of[1], -expected, atol=1e-6)


def test_centring_pulls_the_mean_to_zero():
    high = jnp.full(4, 5.0)
    pull = jax.grad(lambda x: preference_loss(x, x, centring=1.0).loss)(high)
    np.testing.assert_allclose(pull, 2 / 4, atol=1e-6)
    assert float(preference_loss(high, -high, centring=1.0).loss) < 1e-3


def test_large_differences_stay_finite():
    out = preference_loss(jnp.array([-1e4]), jnp.array([1e4]))
    assert float(out.loss) == pytest.approx(2e4)
