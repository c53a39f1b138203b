"""`Layout.jit`: equal settings share a compiled function."""

from functools import partial

import jax.numpy as jnp
import pytest

from orl_jax.models.sharding.layout import Layout

traced = []


def scaled(factor, x, *, offset=0):
    traced.append(factor)
    return factor * x + offset


@pytest.fixture(autouse=True)
def nothing_traced():
    traced.clear()


def test_equal_settings_are_traced_once():
    layout, x = Layout.of(), jnp.ones(3)
    for _ in range(2):
        again = Layout.of().jit(partial(scaled, 2.0, offset=1), out_shardings=layout.whole)
        assert again(x).tolist() == [3.0] * 3
    assert traced == [2.0]


def test_other_settings_or_options_are_another_function():
    layout, x = Layout.of(), jnp.ones(3)
    for factor, offset, where in (
        (3.0, 1, "whole"),
        (4.0, 1, "whole"),
        (4.0, 2, "whole"),
        (4.0, 2, "batch"),
    ):
        function = layout.jit(
            partial(scaled, factor, offset=offset), out_shardings=getattr(layout, where)
        )
        assert function(x).tolist() == [factor + offset] * 3
    assert traced == [3.0, 4.0, 4.0, 4.0]


def test_arrays_are_no_settings():
    with pytest.raises(TypeError, match="unhashable"):
        Layout.of().jit(partial(scaled, jnp.ones(3)))
