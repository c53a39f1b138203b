"""Ranks, gains and rank metrics: by hand, against scipy, and by property."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_jax.ops.ranking import (
    DISCOUNTS,
    gains,
    kendall_tau,
    ndcg,
    position_gains,
    ranks,
    tie_fraction,
)

compiled = settings(deadline=None, max_examples=60)  # a new shape compiles, which takes time
modes = pytest.mark.parametrize(
    "mode", [lambda f: f, jax.jit, jax.vmap], ids=["plain", "jit", "vmap"]
)
# Few sizes, as each one compiles again.
groups = st.sampled_from([1, 2, 6]).flatmap(
    lambda size: st.lists(st.integers(-3, 3), min_size=size, max_size=size)
)
pairs = st.sampled_from([1, 2, 5]).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 3), min_size=size, max_size=size)] * 2)
)


def array(values: list[int]) -> jnp.ndarray:
    """float32, like scores."""
    return jnp.asarray(values, jnp.float32)


@modes
def test_ranks_by_hand(mode):
    scores = jnp.array([[0.5, 2.0, 0.5, -1.0], [1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    expected = [[1.5, 0.0, 1.5, 3.0], [1.5, 1.5, 1.5, 1.5], [3.0, 2.0, 1.0, 0.0]]
    np.testing.assert_array_equal(mode(ranks)(scores), expected)


@modes
def test_gains_by_hand(mode):
    # D log2: 1, 1/log2(3) = 0.63093, 1/log2(4) = 0.5, 1/log2(5) = 0.43068.
    # Ranks 1.5, 1.5 hold positions 1 and 2: (0.63093 + 0.5) / 2 = 0.56546; all: 2.56161 / 4.
    tied = jnp.array([[1.5, 0.0, 1.5, 3.0], [1.5, 1.5, 1.5, 1.5]])
    expected = [[0.56546, 1.0, 0.56546, 0.43068], [0.64040] * 4]
    np.testing.assert_allclose(mode(gains)(tied), expected, atol=1e-5)


def test_gains_of_every_discount():
    order = jnp.arange(3.0)
    # printed: log2(2)/1, log2(3)/2, log2(4)/3; product: 1/1, 1/(2 * 1.58496), 1/(3 * 2)
    np.testing.assert_allclose(gains(order, "log2"), [1, 0.63093, 0.5], atol=1e-5)
    np.testing.assert_allclose(gains(order, "printed"), [1, 0.79248, 0.66667], atol=1e-5)
    np.testing.assert_allclose(gains(order, "product"), [1, 0.31546, 0.16667], atol=1e-5)


def test_unknown_discount_names_the_choices():
    with pytest.raises(ValueError, match=r"'log3'.*log2, printed, product"):
        gains(jnp.arange(3.0), "log3")


def test_inputs_of_any_kind():
    np.testing.assert_array_equal(ranks(np.array([3, 1, 2])), [0, 2, 1])
    assert ranks(jnp.array([3, 1, 2])).dtype == jnp.float32
    assert gains(jnp.array([0, 1])).dtype == jnp.float32
    assert ranks(jnp.zeros((2, 3, 4))).shape == (2, 3, 4)
    np.testing.assert_array_equal(ranks(jnp.array([-jnp.inf, 0.0, -jnp.inf])), [1.5, 0, 1.5])


def test_nan_scores_get_nan_ranks():
    np.testing.assert_array_equal(ranks(jnp.array([1.0, jnp.nan, 2.0])), [1, np.nan, 0])


def test_ranks_have_no_gradient():
    gradient = jax.grad(lambda x: gains(ranks(x)) @ x)(jnp.array([0.3, -1.0, 2.0]))
    np.testing.assert_allclose(gradient, gains(ranks(jnp.array([0.3, -1.0, 2.0]))))


@compiled
@given(groups)
def test_ranks_agree_with_scipy(scores):
    expected = scipy.stats.rankdata(-np.array(scores)) - 1
    np.testing.assert_array_equal(ranks(array(scores)), expected)


@compiled
@given(groups, st.sampled_from(DISCOUNTS))
def test_gains_add_up_whatever_the_ties(scores, discount):
    total = position_gains(len(scores), discount).sum()
    assert float(gains(ranks(array(scores)), discount).sum()) == pytest.approx(total, abs=1e-5)


@compiled
@given(groups, st.sampled_from(DISCOUNTS))
def test_only_the_order_of_ranks_matters(scores, discount):
    by_rank = [
        gains(jnp.asarray(scipy.stats.rankdata(-np.array(scores), method=method)), discount)
        for method in ("average", "min", "max", "dense")
    ]
    for other in by_rank[1:]:
        np.testing.assert_array_equal(by_rank[0], other)


@compiled
@given(st.permutations(range(5)), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_permuting_a_group_permutes_its_ranks_and_gains(order, scores):
    shuffled = array(scores)[jnp.array(order)]
    np.testing.assert_array_equal(ranks(shuffled), ranks(array(scores))[jnp.array(order)])
    expected = gains(ranks(array(scores)))[jnp.array(order)]
    np.testing.assert_allclose(gains(ranks(shuffled)), expected, atol=1e-7)


@compiled
@given(pairs)
def test_kendall_tau_agrees_with_scipy(pair):
    a, b = pair
    expected = scipy.stats.kendalltau(a, b).statistic if min(len(set(a)), len(set(b))) > 1 else 0.0
    assert float(kendall_tau(array(a), array(b))) == pytest.approx(expected, abs=1e-6)


def test_kendall_tau_by_hand():
    # pairs: (0,1) agrees, (0,2) agrees, (1,2) does not: (2 - 1) / 3
    assert float(kendall_tau(jnp.arange(3.0), jnp.array([0.0, 2.0, 1.0]))) == pytest.approx(1 / 3)
    assert float(kendall_tau(jnp.zeros(3), jnp.arange(3.0))) == 0.0
    assert float(kendall_tau(jnp.zeros(1), jnp.zeros(1))) == 0.0


def test_ndcg_by_hand():
    # G = 3: relevance 2, 1, 0. Reversed: 0.5 * 2 + 0.63093 * 1 over 1 * 2 + 0.63093 * 1
    reversed_order = ndcg(jnp.arange(3.0), jnp.array([2.0, 1.0, 0.0]))
    assert float(reversed_order) == pytest.approx(1.63093 / 2.63093, abs=1e-5)
    assert float(ndcg(jnp.zeros(4), jnp.arange(4.0))) == pytest.approx(1)
    assert float(ndcg(jnp.zeros(1), jnp.zeros(1))) == 1


@compiled
@given(st.permutations(range(4)), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_ndcg_of_predicted_ties_is_the_mean_over_their_orders(oracle, predicted):
    orders = [
        order
        for order in itertools.permutations(range(4))
        if all(predicted[a] <= predicted[b] for a, b in itertools.pairwise(np.argsort(order)))
    ]
    values = [float(ndcg(array(oracle), array(order))) for order in orders]
    assert float(ndcg(array(oracle), array(predicted))) == pytest.approx(np.mean(values), abs=1e-5)


@compiled
@given(pairs)
def test_ndcg_is_one_exactly_where_the_orders_agree(pair):
    oracle, predicted = pair
    strictly_before = [
        (a, b) for a in range(len(oracle)) for b in range(len(oracle)) if oracle[a] < oracle[b]
    ]
    agree = all(predicted[a] < predicted[b] for a, b in strictly_before)
    value = float(ndcg(array(oracle), array(predicted)))
    assert 0 < value <= 1 + 1e-6
    assert (value > 1 - 1e-5) == agree


@pytest.mark.parametrize("size", [2, 5, 9])
def test_ndcg_matches_scikit_learn(size):
    rng = np.random.default_rng(size)
    oracle = rng.integers(0, size, (200, size))  # with ties and without
    predicted = rng.integers(0, size, (200, size))
    relevance = size - 1 - np.array([scipy.stats.rankdata(row) - 1 for row in oracle])
    expected = [
        sklearn.metrics.ndcg_score([gain], [-places])
        for gain, places in zip(relevance, predicted, strict=True)
    ]
    np.testing.assert_allclose(ndcg(oracle, predicted), expected, atol=1e-5)


@modes
def test_tie_fraction_by_hand(mode):
    table = jnp.array([[1.5, 0.0, 1.5, 3.0], [1.5, 1.5, 1.5, 1.5], [0.0, 1.0, 2.0, 3.0]])
    np.testing.assert_allclose(mode(tie_fraction)(table), [1 / 6, 1, 0])
    assert float(tie_fraction(jnp.zeros(1))) == 0
