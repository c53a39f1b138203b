"""The policy loss, KL estimates and masked means: by hand, by finite differences, by property."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_jax.ops.losses import (
    NORMALISATIONS,
    clipped_policy_loss,
    kl_estimate,
    mask_denominator,
    masked_mean,
    sampler_weights,
)

compiled = settings(deadline=None, max_examples=60)  # a new shape compiles, which takes time
modes = pytest.mark.parametrize("mode", [lambda f: f, jax.jit], ids=["plain", "jit"])
loss_of = functools.partial(clipped_policy_loss, clip_low=0.2, clip_high=0.28)


def batch(seed=0, shape=(3, 2, 4), dtype=jnp.float32):
    """log_prob, old_log_prob [B, G, T], advantages [B, G], and a mask of at least one token."""
    keys = jax.random.split(jax.random.key(seed), 4)
    old = -jax.random.uniform(keys[0], shape, dtype, 0.1, 3)
    new = old + 0.3 * jax.random.normal(keys[1], shape, dtype)
    lengths = jax.random.randint(keys[3], shape[:-1], 1, shape[-1] + 1)
    mask = jnp.arange(shape[-1]) < lengths[..., None]
    return new, old, jax.random.normal(keys[2], shape[:-1], dtype), mask


@modes
def test_clipped_loss_by_hand(mode):
    # ratio 1, 1.5 (A = 2), 0.5, 1.5 (A = -1); limits 0.8 and 1.28.
    # A = 2: min(2, 2) = 2; min(3, 2.56) = 2.56 (clipped high).
    # A = -1: min(-0.5, -0.8) = -0.8 (clipped low); min(-1.5, -1.28) = -1.5. Sum 2.26, mean 0.565.
    ratio = jnp.array([[1.0, 1.5], [0.5, 1.5]])
    old = jnp.full((2, 2), -1.0)
    out = mode(loss_of)(old + jnp.log(ratio), old, jnp.array([2.0, -1.0]), jnp.ones((2, 2)))
    assert float(out.loss) == pytest.approx(-0.565, abs=1e-6)
    assert float(out.ratio_mean) == pytest.approx(4.5 / 4)
    assert float(out.ratio_max) == pytest.approx(1.5)
    assert float(out.clip_low_fraction) == 0.25
    assert float(out.clip_high_fraction) == 0.25
    assert float(out.tokens) == 4


def test_bounds_and_weights_by_hand():
    # A = -1 and ratios 0.5, 1.5, 4: -0.8, -1.5, -4; bounded at 3: -3. A = 2: 1, 2.56, 2.56.
    ratio = jnp.array([[0.5, 1.5, 4.0], [0.5, 1.5, 4.0]])
    old, advantages = jnp.full((2, 3), -1.0), jnp.array([-1.0, 2.0])
    loss = functools.partial(loss_of, old + jnp.log(ratio), old, advantages, jnp.ones((2, 3)))
    assert float(loss().loss) == pytest.approx((6.3 - 6.12) / 6, abs=1e-6)
    assert float(loss(clip_dual=3.0).loss) == pytest.approx((5.3 - 6.12) / 6, abs=1e-6)
    weights = jnp.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.5]])
    expected = -(-0.8 - 2 * 1.5 + 0.5 * 2.56) / 6
    assert float(loss(weights=weights).loss) == pytest.approx(expected, abs=1e-6)


def test_sampler_weights_by_hand():
    found = sampler_weights(jnp.array([-1.0, -1.0, -1.0]), jnp.array([-1.5, -3.0, -0.5]), 2.0)
    np.testing.assert_allclose(found, [np.exp(0.5), 2.0, np.exp(-0.5)], rtol=1e-6)
    far = sampler_weights(jnp.array([0.0]), jnp.array([-1e9]), 2.0)  # no overflow
    assert float(far[0]) == pytest.approx(2.0)


def test_clipping_stops_the_gradient():
    old = jnp.full((2, 2), -1.0)
    new = old + jnp.log(jnp.array([[1.0, 1.5], [0.5, 1.5]]))
    gradient = jax.grad(lambda x: loss_of(x, old, jnp.array([2.0, -1.0]), jnp.ones((2, 2))).loss)(
        new
    )
    # -A ratio / 4 where not clipped
    np.testing.assert_allclose(gradient, [[-0.5, 0.0], [0.0, 0.375]], atol=1e-6)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_gradient_matches_finite_differences(normalisation):
    with jax.enable_x64(True):
        new, old, advantages, mask = batch(dtype=jnp.float64)

        @jax.jit
        def total(new):
            policy = loss_of(new, old, advantages, mask, normalisation=normalisation).loss
            kl = kl_estimate(new, old - 0.1, "k3", mask)
            return policy + 0.1 * masked_mean(kl, mask, normalisation)

        gradient, step = jax.grad(total)(new), 1e-6
        for index in np.ndindex(new.shape):
            shift = jnp.zeros_like(new).at[index].set(step)
            numeric = (total(new + shift) - total(new - shift)) / (2 * step)
            assert float(gradient[index]) == pytest.approx(float(numeric), rel=1e-6, abs=1e-8)


def test_only_the_current_policy_has_a_gradient():
    new, old, advantages, mask = batch()
    gradients = jax.grad(lambda *args: loss_of(*args, mask).loss, argnums=(0, 1, 2))(
        new, old, advantages
    )
    assert np.any(gradients[0])
    assert not np.any(gradients[1]) and not np.any(gradients[2])
    assert not np.any(jax.grad(lambda ref: kl_estimate(new, ref).sum())(old))


def test_on_policy_gradient_is_reinforce():
    new, _, advantages, mask = batch()
    gradient = jax.grad(lambda x: loss_of(x, new, advantages, mask).loss)(new)
    np.testing.assert_allclose(
        gradient, -np.asarray(advantages)[..., None] * np.asarray(mask) / int(mask.sum()), atol=1e-7
    )
    out = loss_of(new, new, advantages, mask)
    assert float(out.ratio_mean) == float(out.ratio_max) == 1
    assert float(out.clip_low_fraction) == float(out.clip_high_fraction) == 0


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@modes
def test_an_empty_mask_gives_zero(mode, normalisation):
    new, old, advantages, mask = batch()
    step = jax.value_and_grad(
        lambda x: (
            loss_of(x, old, advantages, jnp.zeros_like(mask), normalisation=normalisation).loss
        )
    )
    loss, gradient = mode(step)(new)
    assert float(loss) == 0 and not np.any(gradient)
    empty = loss_of(new, old, advantages, jnp.zeros_like(mask))
    assert [float(x) for x in empty] == [0] * 6


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_an_invalid_group_has_no_effect(normalisation):
    new, old, advantages, mask = batch()
    without = loss_of(new[1:], old[1:], advantages[1:], mask[1:], normalisation=normalisation)
    left_out = loss_of(new, old, advantages, mask.at[0].set(False), normalisation=normalisation)
    for a, b in zip(without, left_out, strict=True):
        assert float(a) == pytest.approx(float(b), abs=1e-6)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_values_outside_the_mask_do_not_matter(normalisation):
    new, old, advantages, mask = batch()

    def total(new, old):
        policy = loss_of(new, old, advantages, mask, normalisation=normalisation)
        return policy.loss + masked_mean(kl_estimate(new, old, "k3", mask), mask, normalisation)

    expected = jax.value_and_grad(total)(new, old)
    for far in (-1e9, 1e9):  # the ratio overflows, or the KL estimate
        spoilt = jax.value_and_grad(total)(new, jnp.where(mask, old, far))
        for a, b in zip(expected, spoilt, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


@compiled
@given(st.sampled_from(NORMALISATIONS), st.integers(0, 50))
def test_micro_batches_of_whole_groups_add_up(normalisation, seed):
    new, old, advantages, mask = batch(seed)
    mask = mask.at[seed % 3].set(seed % 2 == 0)
    options = {"normalisation": normalisation, "denominator": mask_denominator(mask, normalisation)}
    whole = loss_of(new, old, advantages, mask, normalisation=normalisation).loss
    parts = [
        loss_of(new[i : i + 1], old[i : i + 1], advantages[i : i + 1], mask[i : i + 1], **options)
        for i in range(3)
    ]
    assert float(sum(part.loss for part in parts)) == pytest.approx(float(whole), abs=1e-6)
    assert float(sum(part.tokens for part in parts)) == float(mask.sum())


@pytest.mark.parametrize(
    "normalisation, expected, denominator",
    [
        ("token", (1 + 2 + 3 + 10) / 4, 4),  # three tokens of the first row, one of the second
        ("sequence", (2 + 10) / 2, 2),  # the rows' own means
        ("constant", 16 / 8, 8),  # two rows of T = 4
    ],
)
@pytest.mark.parametrize("dtype", [bool, jnp.float32])
def test_masked_mean_by_hand(normalisation, expected, denominator, dtype):
    values = jnp.array([[1.0, 2, 3, 9], [10, 9, 9, 9], [9, 9, 9, jnp.inf]])
    mask = jnp.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).astype(dtype)
    assert float(masked_mean(values, mask, normalisation)) == pytest.approx(expected)
    assert float(mask_denominator(mask, normalisation)) == denominator


@pytest.mark.parametrize("kind, expected", [("k1", 0.5), ("k2", 0.125), ("k3", 0.1065307)])
def test_kl_estimates_by_hand(kind, expected):
    # d = log ref - log pi = -0.5; k3 = e^-0.5 + 0.5 - 1 = 0.6065307 - 0.5
    value = kl_estimate(jnp.array([-1.0]), jnp.array([-1.5]), kind)
    np.testing.assert_allclose(value, [expected], rtol=1e-6)


def test_k3_is_accurate_where_policies_are_close():
    # d = 0.0007: d^2 / 2 + d^3 / 6; e^d - d - 1 in float32 would be a multiple of 6e-8
    value = kl_estimate(jnp.array([0.0]), jnp.array([0.0007]), "k3")
    np.testing.assert_allclose(value, [2.4505717e-7], rtol=1e-3)


def categorical():
    """Logits of a policy and log-probabilities of a reference over six tokens."""
    logits, ref = jax.random.normal(jax.random.key(3), (2, 6))
    return logits, jax.nn.log_softmax(ref)


def divergence(log_p, log_q):
    """KL(p || q)."""
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q))


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(kind):
    logits, ref = categorical()
    log_p = jax.nn.log_softmax(logits)
    mean = jnp.sum(jnp.exp(log_p) * kl_estimate(log_p, ref, kind))
    np.testing.assert_allclose(mean, divergence(log_p, ref), rtol=1e-5)


@pytest.mark.parametrize(
    "kind, target",
    [
        ("k1", lambda log_p, ref: 0.0),
        ("k2", divergence),
        ("k3", lambda log_p, ref: divergence(ref, log_p)),
    ],
)
def test_expected_gradients_are_as_documented(kind, target):
    logits, ref = categorical()
    sampled = jax.lax.stop_gradient(jax.nn.softmax(logits))  # samples carry no gradient
    gradient = jax.grad(lambda x: jnp.sum(sampled * kl_estimate(jax.nn.log_softmax(x), ref, kind)))
    expected = jax.grad(lambda x: target(jax.nn.log_softmax(x), ref) + 0.0 * x.sum())(logits)
    np.testing.assert_allclose(gradient(logits), expected, atol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: kl_estimate(jnp.zeros(2), jnp.zeros(2), "k4"), "'k4'.*k1, k2, k3"),
        (
            lambda: masked_mean(jnp.zeros((1, 2)), jnp.ones((1, 2)), "row", 2.0),
            "'row'.*token, sequence",
        ),
        (lambda: mask_denominator(jnp.ones((1, 2)), "row"), "'row'.*token, sequence, constant"),
    ],
)
def test_unknown_names_list_the_choices(call, message):
    with pytest.raises(ValueError, match=message):
        call()
