"""The pooling adapter against a few lines of torch and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.models.pooling import PoolAdapter


def random_inputs():
    """Features [2, 3, 4, 5] and parameters from width 5 to 6."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype("f4")

    params = {
        "project_in": {"kernel": draw(5, 6), "bias": draw(6)},
        "project_out": {"kernel": draw(6, 6), "bias": draw(6)},
    }
    return draw(2, 3, 4, 5), params


def test_tokens_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="parity with the baseline's adapter needs torch")
    features, params = random_inputs()
    weights = [torch.tensor(params[name]["kernel"]).T for name in ("project_in", "project_out")]
    biases = [torch.tensor(params[name]["bias"]) for name in ("project_in", "project_out")]
    x = torch.nn.functional.linear(torch.tensor(features), weights[0], biases[0])
    x = torch.nn.functional.linear(torch.nn.functional.gelu(x), weights[1], biases[1])
    temporal, spatial = x.mean(dim=2), x.mean(dim=1)  # one token per frame, one per patch
    expected = torch.cat([temporal, spatial], dim=1)
    model = PoolAdapter(frames=3, patches=4, language_width=6)
    ours = jax.jit(model.apply)({"params": params}, features)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_half_precision_stays_half_and_is_near():
    features, params = random_inputs()

    def tokens(dtype):
        model = PoolAdapter(frames=3, patches=4, language_width=6, dtype=dtype)
        return jax.jit(model.apply)({"params": params}, features)

    out, expected = tokens("bfloat16"), tokens("float32")
    assert (expected.dtype, out.dtype) == (jnp.float32, jnp.bfloat16)
    error = np.linalg.norm(out.astype("f4") - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 0.02


def test_temporal_tokens_come_first():
    # Identity layers; the exact GELU of 100 n is 100 n.
    identity = {"kernel": jnp.eye(1), "bias": jnp.zeros(1)}
    features = 100 * jnp.array([[1.0, 3.0], [5.0, 7.0]]).reshape(1, 2, 2, 1)
    out = PoolAdapter(frames=2, patches=2, language_width=1).apply(
        {"params": {"project_in": identity, "project_out": identity}}, features
    )
    np.testing.assert_allclose(out[0, :, 0], [200, 600, 300, 500])  # frames, then patches


def test_the_released_baseline_has_626_tokens():
    assert PoolAdapter(frames=50, patches=24 * 24, language_width=1).visual_tokens == 626
