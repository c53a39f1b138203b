"""Chunked log-probabilities against the unchunked path, numpy and finite differences."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from orl_jax.ops.log_probs import (
    exact_kl,
    masked_logits,
    token_log_probs,
    vocabulary_logits,
)
from orl_jax.ops.losses import kl_estimate

V = 11
BANNED = jnp.zeros(V, bool).at[jnp.array([0, 7])].set(True)


def sample(shape=(2, 3, 5), width=4, seed=0):
    """Hidden states [*shape, width], a kernel [width, V] and allowed tokens [*shape]."""
    keys = jax.random.split(jax.random.key(seed), 3)
    hidden = jax.random.normal(keys[0], (*shape, width))
    kernel = 2 * jax.random.normal(keys[1], (width, V))
    return hidden, kernel, jax.random.randint(keys[2], shape, 1, 7)


def by_numpy(hidden, kernel, tokens, temperature, banned):
    """Log-probability and entropy in float64, over the allowed tokens only."""
    hidden, kernel = np.asarray(hidden, np.float64), np.asarray(kernel, np.float64)
    kept = np.flatnonzero(~np.asarray(banned))
    log_p = scipy.special.log_softmax((hidden @ kernel)[..., kept] / temperature, axis=-1)
    index = np.searchsorted(kept, np.asarray(tokens))[..., None]
    log_prob = np.take_along_axis(log_p, index, -1)[..., 0]
    return log_prob, scipy.special.entr(np.exp(log_p)).sum(-1)


@pytest.mark.parametrize("chunk_size", [0, 1, 4, 30, 100])
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_values_match_numpy(chunk_size, temperature):
    inputs = sample()
    out = jax.jit(
        functools.partial(
            token_log_probs, temperature=temperature, banned=BANNED, chunk_size=chunk_size
        )
    )(*inputs)
    log_prob, entropy = by_numpy(*inputs, temperature, BANNED)
    np.testing.assert_allclose(out.log_prob, log_prob, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(out.entropy, entropy, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "shape, chunk_size", [((1,), 3), ((7,), 3), ((2, 3, 5), 8), ((2, 3, 5), 1), ((4, 4), 16)]
)
def test_values_and_gradients_are_the_same_with_and_without_chunks(shape, chunk_size):
    hidden, kernel, tokens = sample(shape)

    def total(hidden, kernel, chunk_size):
        options = {"temperature": 0.7, "banned": BANNED, "chunk_size": chunk_size}
        out = token_log_probs(hidden, kernel, tokens, **options)
        weights = jnp.arange(tokens.size, dtype=jnp.float32).reshape(tokens.shape)
        return jnp.sum(weights * (out.log_prob + 0.5 * out.entropy)), out

    both = [
        jax.grad(total, argnums=(0, 1), has_aux=True)(hidden, kernel, c) for c in (0, chunk_size)
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-4, rtol=1e-4), *both)


def test_gradient_matches_finite_differences():
    with jax.enable_x64(True):
        hidden, kernel, tokens = sample((2, 3))
        hidden, kernel = hidden.astype(jnp.float64), kernel.astype(jnp.float64)

        @jax.jit
        def total(hidden):
            out = token_log_probs(
                hidden, kernel, tokens, temperature=0.7, banned=BANNED, chunk_size=2
            )
            return jnp.sum(out.log_prob**2 + out.entropy)

        gradient, step = jax.grad(total)(hidden), 1e-6
        for index in [(0, 0, 0), (0, 2, 3), (1, 1, 2)]:
            shift = jnp.zeros_like(hidden).at[index].set(step)
            numeric = (total(hidden + shift) - total(hidden - shift)) / (2 * step)
            assert float(gradient[index]) == pytest.approx(float(numeric), rel=1e-6, abs=1e-8)


def test_banned_tokens_have_probability_zero_and_finite_gradients():
    hidden, kernel, tokens = sample((1, 2))
    probabilities = jax.nn.softmax(masked_logits(vocabulary_logits(hidden, kernel), 0.1, BANNED))
    np.testing.assert_array_equal(probabilities[..., BANNED], 0)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)

    def total(hidden, kernel):  # a padding token, as after the end of a response
        out = token_log_probs(hidden, kernel, jnp.zeros_like(tokens), banned=BANNED, chunk_size=1)
        return jnp.sum(0.0 * out.log_prob + out.entropy), out

    gradients, out = jax.grad(total, argnums=(0, 1), has_aux=True)(hidden, kernel)
    assert all(np.all(np.isfinite(x)) for x in (*gradients, *out))
    assert np.all(np.exp(out.log_prob) == 0)


def test_a_single_allowed_token_has_no_entropy():
    hidden, kernel, tokens = sample((3,))
    only = jnp.ones(V, bool).at[3].set(False)
    out = token_log_probs(hidden, kernel, jnp.full_like(tokens, 3), banned=only)
    np.testing.assert_array_equal(out.log_prob, 0)
    np.testing.assert_array_equal(out.entropy, 0)


def test_uniform_logits_have_the_entropy_log_v():
    out = token_log_probs(jnp.zeros((2, 4)), jnp.zeros((4, V)), jnp.array([1, 2]), banned=BANNED)
    np.testing.assert_allclose(out.entropy, np.log(V - 2), rtol=1e-6)
    np.testing.assert_allclose(out.log_prob, -np.log(V - 2), rtol=1e-6)


def test_extreme_logits_stay_finite():
    hidden, kernel, tokens = sample()
    out = token_log_probs(1e4 * hidden, kernel, tokens, banned=BANNED, chunk_size=4)
    assert np.all(np.isfinite(out.log_prob)) and np.all(np.isfinite(out.entropy))


def test_bfloat16_is_accumulated_in_float32():
    hidden, kernel, tokens = sample((64,), width=256)
    hidden, kernel = hidden.astype(jnp.bfloat16), (kernel / 16).astype(jnp.bfloat16)
    out = token_log_probs(hidden, kernel, tokens, chunk_size=7)
    log_prob, _ = by_numpy(hidden, kernel, tokens, 1.0, np.zeros(V, bool))
    assert out.log_prob.dtype == jnp.float32
    np.testing.assert_allclose(out.log_prob, log_prob, atol=1e-4, rtol=1e-4)


def test_the_full_array_of_logits_is_never_allocated():
    rows, width, vocabulary = 512, 8, 1024

    def total(hidden, kernel, tokens, chunk_size):
        return token_log_probs(hidden, kernel, tokens, chunk_size=chunk_size).log_prob.sum()

    def peak_bytes(chunk_size):
        arguments = (
            jax.ShapeDtypeStruct((rows, width), jnp.float32),
            jax.ShapeDtypeStruct((width, vocabulary), jnp.float32),
            jax.ShapeDtypeStruct((rows,), jnp.int32),
        )
        step = jax.jit(jax.value_and_grad(functools.partial(total, chunk_size=chunk_size)))
        return step.lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    whole = 4 * rows * vocabulary
    assert peak_bytes(0) >= whole
    assert peak_bytes(32) < whole / 4


SHARDED = """
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from orl_jax.ops.log_probs import token_log_probs

mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
hidden = jax.ShapeDtypeStruct((8, 16, 8), jnp.float32, sharding=split)
kernel = jax.ShapeDtypeStruct((8, 1000), jnp.float32, sharding=whole)
tokens = jax.ShapeDtypeStruct((8, 16), jnp.int32, sharding=split)
step = jax.jit(lambda *args: token_log_probs(*args, chunk_size=64).log_prob.sum())
text = step.lower(hidden, kernel, tokens).compile().as_text()
assert "all-reduce" in text and "all-gather" not in text and "all-to-all" not in text
assert "f32[16,1000]" in text and "f32[64,1000]" not in text
"""


def test_each_device_computes_its_share_of_every_chunk():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SHARDED]
    subprocess.run(command, env=os.environ | flags, check=True, timeout=120)


@pytest.mark.parametrize(
    "options, message", [({"temperature": 0.0}, "temperature is 0.0"), ({"chunk_size": -1}, "-1")]
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        token_log_probs(*sample(), **options)


def pair_of_policies(shape=(2, 3, 5)):
    """Hidden states and kernels of a policy and of its reference."""
    hidden, kernel, _ = sample(shape)
    ref_hidden, ref_kernel, _ = sample(shape, seed=1)
    return hidden, kernel, 0.7 * hidden + 0.3 * ref_hidden, 0.8 * kernel + 0.2 * ref_kernel


@pytest.mark.parametrize("chunk_size", [0, 4, 100])
def test_exact_kl_matches_scipy(chunk_size):
    states = pair_of_policies()
    options = {"temperature": 0.7, "banned": BANNED, "chunk_size": chunk_size}
    kept = np.flatnonzero(~np.asarray(BANNED))
    p, q = (
        scipy.special.softmax(np.asarray(x, np.float64) @ np.asarray(w)[:, kept] / 0.7, axis=-1)
        for x, w in (states[:2], states[2:])
    )
    expected = scipy.special.rel_entr(p, q).sum(-1)
    kl = jax.jit(functools.partial(exact_kl, **options))(*states)
    np.testing.assert_allclose(kl, expected, atol=1e-5, rtol=1e-4)
    assert (exact_kl(*states[:2], *states[:2], **options) == 0).all()


def test_exact_kl_is_what_k1_estimates():
    # the k1 of every token, weighted by its probability
    hidden, kernel, *reference = pair_of_policies((2,))
    every = jnp.broadcast_to(jnp.arange(V), (2, V))
    log_p, log_q = (
        token_log_probs(jnp.repeat(x[:, None], V, axis=1), w, every).log_prob
        for x, w in ((hidden, kernel), reference)
    )
    mean = (jnp.exp(log_p) * kl_estimate(log_p, log_q, "k1")).sum(-1)
    np.testing.assert_allclose(exact_kl(hidden, kernel, *reference), mean, atol=1e-5)


def test_gradient_of_exact_kl_reaches_only_the_policy_with_and_without_chunks():
    states = pair_of_policies()

    def total(*states, chunk_size):
        return exact_kl(*states, banned=BANNED, chunk_size=chunk_size).mean()

    plain, chunked = (
        jax.grad(functools.partial(total, chunk_size=size), (0, 1, 2, 3))(*states)
        for size in (0, 4)
    )
    for one, other in zip(plain, chunked, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert plain[0].any() and plain[1].any() and not plain[2].any() and not plain[3].any()
