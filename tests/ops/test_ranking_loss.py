"""Plackett-Luce: golden numbers, the case of two, probabilities that sum to one, ties."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.ops.preference_loss import preference_loss
from orl_jax.ops.ranking_loss import ranking_loss


def loss(scores, ranks):
    return float(ranking_loss(jnp.array([scores]), jnp.array([ranks])).loss)


def test_equal_scores_of_three():
    assert loss([0.0, 0.0, 0.0], [2.0, 0.0, 1.0]) == pytest.approx((math.log(3) + math.log(2)) / 2)


def test_worked_out_by_hand():
    # scores log 4, log 2, log 1 in this order: 4/7 for the first choice, 2/3 for the second
    scores = [math.log(4), math.log(2), 0.0]
    assert loss(scores, [0.0, 1.0, 2.0]) == pytest.approx(-math.log(4 / 7 * 2 / 3) / 2)
    assert loss(scores, [2.0, 1.0, 0.0]) == pytest.approx(-math.log(1 / 7 * 2 / 6) / 2)


def test_the_probabilities_of_all_orders_sum_to_one():
    scores = np.random.default_rng(0).normal(size=4).tolist()
    orders = itertools.permutations([0.0, 1.0, 2.0, 3.0])
    assert sum(math.exp(-3 * loss(scores, list(order))) for order in orders) == pytest.approx(1)


def test_two_responses_are_bradley_terry():
    scores = jnp.array(np.random.default_rng(1).normal(size=(9, 2)))
    ranks = jnp.tile(jnp.array([[0.0, 1.0]]), (9, 1))
    pairs = preference_loss(scores[:, 0], scores[:, 1], centring=0.0)
    for ours, peer in zip(ranking_loss(scores, ranks), pairs, strict=True):
        assert float(ours) == pytest.approx(float(peer), abs=1e-6)


def test_tied_responses_do_not_compete():
    # 0 and 1 tied first, 2 last: 4 against 1, and 2 against 1
    scores = [math.log(4), math.log(2), 0.0]
    expected = -(math.log(4 / 5) + math.log(2 / 3)) / 2
    assert loss(scores, [0.5, 0.5, 2.0]) == pytest.approx(expected)


def test_lowest_ranked_responses_and_fully_tied_lists_contain_no_choice():
    ranks = jnp.array([[0.0, 1.5, 1.5], [1.0, 1.0, 1.0]])
    scores = jnp.array([[2.0, 1.0, -1.0], [3.0, 2.0, 1.0]])
    grads = jax.grad(lambda s: ranking_loss(s, ranks).loss)(scores)
    np.testing.assert_array_equal(grads[1], 0)
    assert float(grads[0, 0]) < 0 < float(grads[0, 1])
    assert loss([5.0, 1.0, 2.0], [1.0, 1.0, 1.0]) == 0  # no choice, and no NaN


def test_accuracy_and_margin_cover_untied_pairs_only():
    out = ranking_loss(jnp.array([[1.0, 3.0, 1.0]]), jnp.array([[0.0, 1.5, 1.5]]))
    assert float(out.accuracy) == pytest.approx((0 + 0.5) / 2)
    assert float(out.margin) == pytest.approx((-2 + 0) / 2)


def test_extreme_scores_stay_finite():
    scores, ranks = jnp.array([[-1e4, 1e4, 0.0]]), jnp.array([[0.0, 1.0, 2.0]])
    assert np.isfinite(ranking_loss(scores, ranks).loss)
    grads = jax.grad(lambda s: ranking_loss(s, ranks).loss)(scores)
    assert np.isfinite(grads).all()


def test_the_order_of_presentation_does_not_matter():
    rng = np.random.default_rng(2)
    scores, ranks = rng.normal(size=(5, 4)), np.array([rng.permutation(4) for _ in range(5)], float)
    order = rng.permutation(4)
    first, second = (ranking_loss(jnp.array(s), jnp.array(r)) for s, r in
                     ((scores, ranks), (scores[:, order], ranks[:, order])))  # fmt: skip
    np.testing.assert_allclose(first, second, rtol=1e-5)
