"""Schedules and updates by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from orl_jax.training.optimizer import (
    OptimizerSettings,
    make_optimizer,
    make_schedule,
    scale_by_path,
)


def settings(**changes):
    given = {"warmup_steps": 4, "schedule": "constant", "max_grad_norm": 1e6}
    return OptimizerSettings(learning_rate=0.1, **given | changes)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", {0: 0.0, 1: 0.025, 4: 0.1, 9: 0.1, 1000: 0.1}),
        # from 0.1 at step 4 to 0.01 at step 24: half way 0.055, at a quarter 0.01 + 0.09 * 0.853553
        ("cosine", {0: 0.0, 2: 0.05, 4: 0.1, 9: 0.08682, 14: 0.055, 24: 0.01, 1000: 0.01}),
    ],
)
def test_schedules_by_hand(schedule, expected):
    rate = make_schedule(settings(schedule=schedule), 24)
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_short_stage_still_reaches_its_rate(schedule):
    given = settings(schedule=schedule, warmup_steps=30)
    assert float(make_schedule(given, 1)(0)) == pytest.approx(0.1)
    rates = [float(make_schedule(given, 3)(step)) for step in range(3)]
    assert rates == pytest.approx([0.0, 0.05, 0.1])


def updates(given, gradients, params):
    """The updates of one gradient after the other, at a rate of 0.1."""
    optimizer = make_optimizer(given, optax.constant_schedule(0.1))
    update = jax.jit(optimizer.update)
    state, out = optimizer.init(params), []
    for gradient in gradients:
        change, state = update(gradient, state, params)
        out.append(jax.tree.map(np.asarray, change))
    return out


def tree(a, b):
    return {"adapter": {"a": jnp.array(a)}, "language": {"b": jnp.array(b)}}


def test_first_update_by_hand():
    # Adam's first step is the sign of the gradient; weight decay adds 0.5 of the parameter.
    given = settings(weight_decay=0.5)
    (out,) = updates(given, [tree([3.0, -7.0], [0.01])], tree([1.0, 1.0], [-4.0]))
    np.testing.assert_allclose(out["adapter"]["a"], [-0.1 * 1.5, -0.1 * -0.5], rtol=1e-4)
    np.testing.assert_allclose(out["language"]["b"], [-0.1 * (1 - 2)], rtol=1e-4)


def test_rates_scale_the_updates_of_matching_paths():
    given = settings(rates=(("adapter/.*", 0.25), (".*/a", 9.0)), weight_decay=0.5)
    gradient, params = tree([3.0], [2.0]), tree([1.0], [1.0])
    (out,), (plain,) = (updates(c, [gradient], params) for c in (given, settings(weight_decay=0.5)))
    np.testing.assert_allclose(out["adapter"]["a"], 0.25 * plain["adapter"]["a"])
    np.testing.assert_allclose(out["language"]["b"], plain["language"]["b"])


def test_rates_match_whole_paths_and_the_first_counts():
    scale = scale_by_path((("a", 2.0), ("a/.", 3.0), ("a/b", 5.0)))
    grads = {"a": {"b": jnp.ones(1), "bc": jnp.ones(1)}}
    out, _ = scale.update(grads, scale.init(grads))
    assert jax.tree.map(float, jax.tree.map(lambda x: x[0], out)) == {"a": {"b": 3.0, "bc": 1.0}}


def test_the_gradient_norm_is_clipped_over_all_parameters():
    # (30, 40) has norm 50: clipped to (0.6, 0.8), the second gradient. Equal gradients make
    # equal updates of Adam, unequal ones do not.
    gradients = [tree([30.0], [40.0]), tree([0.6], [0.8])]
    first, second = updates(settings(max_grad_norm=1.0), gradients, tree([0.0], [0.0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), first, second)
    first, second = updates(settings(max_grad_norm=100.0), gradients, tree([0.0], [0.0]))
    assert abs(second["adapter"]["a"][0]) < 0.8 * abs(first["adapter"]["a"][0])


def test_the_schedule_is_followed():
    optimizer = make_optimizer(settings(), lambda step: 0.1 * step)
    params = {"a": jnp.zeros(1)}
    state = optimizer.init(params)
    sizes = []
    for _ in range(3):
        change, state = optimizer.update({"a": jnp.ones(1)}, state, params)
        sizes.append(float(change["a"][0]))
    np.testing.assert_allclose(sizes, [0.0, -0.1, -0.2], atol=1e-5)
