"""The low-rank adapter: by hand, fresh, merged, and what it may train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import make_llama

from orl_jax.models.lora import LoRADense
from orl_jax.models.params import fill, flatten


def test_by_hand():
    params = {
        "kernel": jnp.array([[1.0, 0.0], [0.0, 1.0]]),
        "lora_a": jnp.array([[1.0], [2.0]]),
        "lora_b": jnp.array([[3.0, -1.0]]),
    }
    # x W = [1, 2]; x A = 1 + 4 = 5; x A B = [15, -5]; alpha / rank = 2 gives [31, -8]
    out = LoRADense(2, rank=1, alpha=2.0).apply({"params": params}, jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(out, [31.0, -8.0])


@pytest.mark.parametrize("rank", [1, 3])
def test_is_the_dense_layer_with_the_merged_kernel(rank):
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {"kernel": (5, 7), "lora_a": (5, rank), "lora_b": (rank, 7)}
    params = {name: jax.random.normal(k, s) for (name, s), k in zip(shapes.items(), keys[1:])}  # noqa: B905
    x = jax.random.normal(keys[0], (2, 4, 5))
    merged = params["kernel"] + 16.0 / rank * params["lora_a"] @ params["lora_b"]
    out = LoRADense(7, rank=rank, alpha=16.0).apply({"params": params}, x)
    plain = LoRADense(7).apply({"params": {"kernel": merged}}, x)
    np.testing.assert_allclose(out, plain, rtol=1e-4, atol=1e-4)


def test_fresh_parameters():
    x = jnp.ones((1, 400))
    params = LoRADense(50, rank=8).init(jax.random.key(0), x)["params"]
    shapes = {name: value.shape for name, value in params.items()}
    assert shapes == {"kernel": (400, 50), "lora_a": (400, 8), "lora_b": (8, 50)}
    assert not params["lora_b"].any()
    assert float(params["lora_a"].std()) == pytest.approx(400**-0.5, rel=0.1)
    assert set(LoRADense(50).init(jax.random.key(0), x)["params"]) == {"kernel"}


def test_fresh_adapters_change_nothing_and_can_learn():
    x = jax.random.normal(jax.random.key(0), (2, 1, 5, 8))
    positions = jnp.broadcast_to(jnp.arange(5), (2, 1, 5))
    mask = jnp.ones((2, 1, 5), bool)
    model, plain = make_llama(), make_llama(lora_rank=0)

    def hidden(model, params):
        return model.apply({"params": params}, x, positions, mask)[0]

    pretrained = jax.jit(plain.init)(jax.random.key(1), x, positions, mask)["params"]
    fresh = jax.jit(model.init)(jax.random.key(2), x, positions, mask)["params"]
    params = fill(fresh, pretrained)
    np.testing.assert_array_equal(hidden(model, params), hidden(plain, pretrained))
    gradient = jax.jit(jax.grad(lambda params: (hidden(model, params)[..., 0] ** 2).sum()))(params)
    for path, value in flatten(gradient).items():
        if path.endswith("lora_a"):  # its partner is zero
            assert not value.any(), path
        if path.endswith("lora_b"):
            assert (jnp.abs(value).max(axis=(1, 2)) > 0).all(), path
