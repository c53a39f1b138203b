"""Operations of functions, compared with counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from orl_jax.performance.plan.flops import Flops, count


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


A, B, SQUARE = shape(2, 3), shape(3, 5), shape(3, 3)
PRODUCT = 2 * 2 * 3 * 5  # of A and B
STEP = 2 * 2 * 3 * 3  # of A and SQUARE


def repeated(a, square, length=7):
    """`length` products in sequence."""
    return jax.lax.scan(lambda x, _: (x @ square, None), a, length=length)[0]


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (jnp.matmul, (A, B), PRODUCT),
        (jax.jit(jnp.matmul), (A, B), PRODUCT),
        (lambda a, b: jnp.tanh(a @ b) + 1, (A, B), PRODUCT),
        (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (shape(4, 2, 3), shape(4, 3, 5)), 240),
        (repeated, (A, SQUARE), 7 * STEP),
        (lambda a, s: jax.lax.scan(lambda x, _: (repeated(x, s, 3), None), a, length=4)[0],
         (A, SQUARE), 12 * STEP),
        # the gradient of a product is two products
        (jax.grad(lambda a, b: jnp.sum(jnp.tanh(a @ b)), argnums=(0, 1)), (A, B), 3 * PRODUCT),
        # recomputed: forward, forward again, backward
        (jax.grad(lambda a, b: jnp.sum(jnp.sin(jax.checkpoint(lambda a: jnp.sin(a @ b))(a)))),
         (A, B), 3 * PRODUCT),
        (lambda a, s: jax.lax.cond(a[0, 0] > 0, lambda: repeated(a, s), lambda: a @ s),
         (A, SQUARE), 7 * STEP),
        (lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME"),
         (shape(1, 3, 8, 8), shape(5, 3, 2, 2)), 2 * (5 * 8 * 8) * (3 * 2 * 2)),
    ],
)  # fmt: skip
def test_counted_by_hand(function, args, expected):
    assert count(function, *args) == Flops(expected)


def test_a_loop_of_unknown_length_counts_once_and_is_reported():
    def loop(a, square):
        return jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ square, a)

    assert count(loop, A, SQUARE) == Flops(STEP, open_loops=True)
    assert count(lambda a: jax.lax.while_loop(lambda x: x.sum() > 0, jnp.sin, a), A) == Flops(0)
