"""PPO's per-token quantities: by hand, against explicit sums, and by property."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.ops.gae import (
    clipped_value_loss,
    generalised_advantages,
    token_rewards,
    whiten,
)

modes = pytest.mark.parametrize("mode", [lambda f: f, jax.jit], ids=["plain", "jit"])
MASK = jnp.array([[True, True, True], [True, False, False]])


@modes
def test_rewards_by_hand(mode):
    log_prob = jnp.array([[-1.0, -2.0, -1.0], [-1.0, 7.0, 7.0]])
    ref = jnp.array([[-1.5, -1.0, -1.0], [-2.0, 9.0, -9.0]])
    rewards = mode(functools.partial(token_rewards, kl_coefficient=0.1))(
        jnp.array([1.0, -2.0]), log_prob, ref, MASK
    )
    # drift 0.5, -1, 0 and 1; the score at the last token of each response
    np.testing.assert_allclose(rewards, [[-0.05, 0.1, 1.0], [-2.1, 0, 0]], atol=1e-6)


@modes
def test_undiscounted_advantages_are_the_rewards_to_go_minus_the_value(mode):
    rewards, values = jnp.array([[0.0, 1.0, 2.0]]), jnp.array([[0.5, 1.0, 0.25]])
    out = mode(lambda *x: generalised_advantages(*x, gamma=1.0, lam=1.0))(
        rewards, values, jnp.ones((1, 3), bool)
    )
    np.testing.assert_allclose(out.advantages, [[2.5, 2.0, 1.75]], atol=1e-6)  # 3, 3, 2 minus V
    np.testing.assert_allclose(out.returns, [[3, 3, 2]], atol=1e-6)


def test_discounted_advantages_by_hand():
    # delta_1 = 2 - 0.25 = 1.75; delta_0 = 1 + 0.5 * 0.25 - 1 = 0.125
    # A_1 = 1.75; A_0 = 0.125 + 0.5 * 0.8 * 1.75 = 0.825
    out = generalised_advantages(
        jnp.array([1.0, 2.0]), jnp.array([1.0, 0.25]), jnp.ones(2, bool), gamma=0.5, lam=0.8
    )
    np.testing.assert_allclose(out.advantages, [0.825, 1.75], atol=1e-6)


def test_advantages_are_the_papers_weighted_sum():
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(2, 6)), rng.normal(size=(2, 7))
    values[:, 6] = 0
    gamma, lam = 0.9, 0.7
    deltas = rewards + gamma * values[:, 1:] - values[:, :-1]
    powers = (gamma * lam) ** np.arange(6)
    expected = [[(deltas[r, t:] * powers[: 6 - t]).sum() for t in range(6)] for r in range(2)]
    out = generalised_advantages(
        jnp.asarray(rewards, jnp.float32), jnp.asarray(values[:, :-1], jnp.float32),
        jnp.ones((2, 6), bool), gamma=gamma, lam=lam,
    )  # fmt: skip
    np.testing.assert_allclose(out.advantages, expected, atol=1e-5)


def test_padding_has_no_effect():
    rewards, values = jnp.arange(6.0).reshape(2, 3), jnp.ones((2, 3))
    out = generalised_advantages(rewards, values, MASK, gamma=0.9, lam=0.9)
    other = generalised_advantages(
        jnp.where(MASK, rewards, jnp.nan), jnp.where(MASK, values, 1e9), MASK, gamma=0.9, lam=0.9
    )
    np.testing.assert_array_equal(out.advantages, other.advantages)
    assert (out.advantages[1, 1:] == 0).all() and (out.returns[1, 1:] == 0).all()
    white = whiten(jnp.where(MASK, rewards, 1e9), MASK)
    np.testing.assert_allclose(white, whiten(rewards, MASK), atol=1e-6)


def test_whitened_values_have_zero_mean_and_unit_deviation():
    values = jax.random.normal(jax.random.key(0), (4, 5)) * 3 + 7
    mask = jnp.arange(5) < jnp.array([[5], [1], [3], [2]])
    kept = np.asarray(whiten(values, mask))[np.asarray(mask)]
    assert kept.mean() == pytest.approx(0, abs=1e-5)
    assert kept.std() == pytest.approx(1, abs=1e-4)


@modes
def test_value_loss_by_hand(mode):
    # 1: max((1 - 2)^2, (0.2 - 2)^2) = 3.24.  0.1, inside the clip: (0.1 - 1)^2 = 0.81. / 2 / 2
    loss = mode(functools.partial(clipped_value_loss, clip=0.2))(
        jnp.array([1.0, 0.1, 5.0]), jnp.zeros(3), jnp.array([2.0, 1.0, 0.0]),
        jnp.array([True, True, False]),
    )  # fmt: skip
    assert float(loss) == pytest.approx(4.05 / 4, abs=1e-6)


def test_only_the_values_get_a_gradient_from_the_value_loss():
    mask = jnp.ones(2, bool)
    values, old, returns = jnp.array([0.1, 0.2]), jnp.zeros(2), jnp.ones(2)
    gradients = jax.grad(clipped_value_loss, (0, 1, 2))(values, old, returns, mask, 0.5)
    np.testing.assert_allclose(gradients[0], (values - returns) / 2, atol=1e-6)
    assert not gradients[1].any() and not gradients[2].any()
