"""Pinning the memory order changes neither numbers nor gradients."""

import jax
import jax.numpy as jnp
import numpy as np

from orl_jax.models.sharding.mesh import BATCH
from orl_jax.models.sharding.order import row_major


def test_numbers_and_gradients_do_not_change():
    x = jnp.arange(24.0).reshape(2, 3, 4)

    def function(x):
        return jnp.sum(row_major(x, BATCH, None, "tensor") ** 2 * x)

    value, gradient = jax.jit(jax.value_and_grad(function))(x)
    assert value == jnp.sum(x**3)
    np.testing.assert_allclose(gradient, 3 * x**2, rtol=1e-6)


def test_the_compiler_is_told():
    text = jax.jit(row_major).lower(jnp.zeros((2, 3))).as_text()
    assert "LayoutConstraint" in text
