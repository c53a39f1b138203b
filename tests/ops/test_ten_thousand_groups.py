"""Every rank advantage, jitted and vmapped, on 10,000 random groups of 2 to 16 with ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.ops.advantages import linear_rank_advantages, rank_advantages
from orl_jax.ops.ranking import ranks

SIZES = range(2, 17)
GROUPS = 10_005 // len(SIZES)
FORMS = {
    "printed": lambda r, p: rank_advantages(r, p, form="printed", discount="printed"),
    **{f"signed {mix}": lambda r, p, mix=mix: rank_advantages(r, p, mix=mix)
       for mix in (0.0, 0.25, 0.5, 1.0)},
    "linear": lambda r, p: linear_rank_advantages(r),
}  # fmt: skip
# Bounds of |A|: 1 where gains are in (0, 1], 2 for the linear form, and for the printed form the
# largest ratio of two gains, D(0) / D(15) = 16 / log2(17).
BOUNDS = {"printed": 16 / np.log2(17), "linear": 2.0}


def all_forms(oracle_scores, policy_scores):
    """The advantages of one group in every form, by name."""
    oracle, predicted = ranks(oracle_scores), ranks(policy_scores)
    return {name: form(oracle, predicted) for name, form in FORMS.items()}


@pytest.mark.parametrize("size", SIZES)
def test_zero_sum_bounded_and_equivariant(size):
    rng = np.random.default_rng(size)
    levels = rng.integers(1, size + 2, (GROUPS, 1))  # few levels, many ties
    oracle = rng.integers(0, levels, (GROUPS, size)).astype(np.float32)
    policy = np.where(rng.random((GROUPS, 1)) < 0.5, rng.normal(size=oracle.shape), oracle)
    order = rng.permuted(np.tile(np.arange(size), (GROUPS, 1)), axis=1)
    compiled = jax.jit(jax.vmap(all_forms))
    found = compiled(jnp.asarray(oracle), jnp.asarray(policy, jnp.float32))
    moved = compiled(*(jnp.asarray(np.take_along_axis(x, order, 1), jnp.float32)
                       for x in (oracle, policy)))  # fmt: skip
    tied = (oracle == oracle[:, :1]).all(axis=1)
    for name, advantages in found.items():
        advantages = np.asarray(advantages, np.float64)
        largest = max(1.0, np.abs(advantages).max())
        assert np.abs(advantages.sum(axis=1)).max() < 1e-6 * largest, name
        assert largest <= BOUNDS.get(name, 1.0) + 1e-6, name
        permuted = np.take_along_axis(advantages, order, 1)
        np.testing.assert_allclose(moved[name], permuted, atol=2e-6, err_msg=name)
        assert (advantages[tied] == 0).all(), name
    assert tied.any() and not tied.all()
