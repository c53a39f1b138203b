"""The low-rank adapter: by hand, fresh, merged, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from tiny_model import make_llama, normal, random_params

from orl_jax.models.lora import LoRADense, widen
from orl_jax.models.params import flatten


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
def test_equals_the_dense_layer_with_the_merged_kernel(rank):
    x, model = normal(2, 4, 5), LoRADense(7, rank=rank, alpha=16.0)
    params = random_params(model, x)
    merged = params["kernel"] + 16.0 / rank * params["lora_a"] @ params["lora_b"]
    out = jax.jit(model.apply)({"params": params}, x)
    plain = jax.jit(LoRADense(7).apply)({"params": {"kernel": merged}}, x)
    np.testing.assert_allclose(out, plain, rtol=1e-4, atol=1e-4)


def test_widen_is_a_matrix_product_with_its_gradients():
    x, kernel, weights = normal(2, 3, 4), normal(4, 6, seed=1), normal(2, 3, 6, seed=2)

    def loss(product):
        return lambda x, kernel: (jnp.sin(product(x, kernel)) * weights).sum()

    ours = jax.value_and_grad(loss(widen), (0, 1))(x, kernel)
    plain = jax.value_and_grad(loss(jnp.matmul), (0, 1))(x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, plain)


def test_fresh_parameters():
    x = jnp.ones((1, 400))
    params = LoRADense(50, rank=8).init(jax.random.key(0), x)["params"]
    shapes = {name: value.shape for name, value in params.items()}
    assert shapes == {"kernel": (400, 50), "lora_a": (400, 8), "lora_b": (8, 50)}
    assert not params["lora_b"].any()
    assert float(params["lora_a"].std()) == pytest.approx(400**-0.5, rel=0.1)
    assert set(LoRADense(50).init(jax.random.key(0), x)["params"]) == {"kernel"}


def test_fresh_adapters_change_nothing_and_can_learn():
    x = normal(2, 1, 5, 8)
    positions = jnp.broadcast_to(jnp.arange(5), (2, 1, 5))
    mask = jnp.ones((2, 1, 5), bool)
    model, plain = make_llama(), make_llama(lora_rank=0)
    params = random_params(model, x, positions, mask)
    fresh = flatten(params)
    fresh |= {path: jnp.zeros_like(fresh[path]) for path in fresh if path.endswith("lora_b")}
    pretrained = {path: value for path, value in fresh.items() if "lora" not in path}

    def hidden(model, params):
        return model.apply({"params": params}, x, positions, mask)[0]

    def loss(params):
        out = hidden(model, params)
        return (out[..., 0] ** 2).sum(), out

    gradient, out = jax.jit(jax.grad(loss, has_aux=True))(unflatten_dict(fresh, sep="/"))
    expected = jax.jit(lambda params: hidden(plain, params))(unflatten_dict(pretrained, sep="/"))
    np.testing.assert_allclose(out, expected, atol=1e-6)
    for path, value in flatten(gradient).items():
        if path.endswith("lora_a"):  # its factor lora_b is zero
            assert not value.any(), path
        if path.endswith("lora_b"):
            assert (np.abs(value).max(axis=(1, 2)) > 0).all(), path
