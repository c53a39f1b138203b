"""`Layout.jit`: equal settings share a compiled function; a stop does not wait for compilation."""

import os
import signal
import threading
import time
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from orl_jax.models.sharding.layout import Layout
from orl_jax.run import background
from orl_jax.run.stop import StopRequested, StopSignal

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


def test_a_stop_leaves_a_compilation_to_itself_and_the_arguments_as_they_are():
    never, x = threading.Event(), jnp.ones(3)

    def slow(x):
        never.wait(30)  # as XLA does, out of reach of signals
        return x + 1

    function = Layout.of().jit(slow, donate_argnums=0)
    with StopSignal():
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        begun = time.monotonic()
        with pytest.raises(StopRequested, match="SIGTERM"):
            function(x)
        assert time.monotonic() - begun < 5
    assert x.tolist() == [1.0] * 3  # so it can still be saved
    assert background.any_left()  # so the interpreter must not be torn down
    never.set()
    assert function(x).tolist() == [2.0] * 3
    while background.any_left():
        time.sleep(0.01)


def test_a_call_compiles_once_and_inside_another_one_it_is_traced_with_it():
    function = Layout.of().jit(partial(scaled, 5.0))
    for _ in range(2):
        function(jnp.ones(4))
    assert traced == [5.0] and function._cache_size() == 1
    assert jax.eval_shape(function, jnp.ones((2, 2))).shape == (2, 2)
