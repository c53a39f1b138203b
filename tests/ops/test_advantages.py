"""Advantages from ranks and scores: by hand, by property, and the sign in a bandit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orl_jax.ops.advantages import (
    FORMS,
    centred_advantages,
    leave_one_out_advantages,
    linear_rank_advantages,
    rank_advantages,
    rank_penalties,
    standardised_advantages,
)
from orl_jax.ops.ranking import DISCOUNTS, gains, ranks

compiled = settings(deadline=None, max_examples=60)  # a new shape compiles, which takes time
modes = pytest.mark.parametrize("mode", [lambda f: f, jax.jit], ids=["plain", "jit"])
PRINTED = {"form": "printed", "discount": "printed"}
# Few sizes, as each one compiles again; 5 is the paper's.
orders = st.sampled_from([1, 2, 5]).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 3), min_size=size, max_size=size)] * 2)
)
variants = st.fixed_dictionaries(
    {
        "form": st.sampled_from(FORMS),
        "mix": st.sampled_from([0.0, 0.25, 1.0]),
        "discount": st.sampled_from(DISCOUNTS),
    }
)


def both_ranks(pair):
    """Mean ranks of two lists of scores."""
    return tuple(ranks(jnp.asarray(scores, jnp.float32)) for scores in pair)


def swapped(a, b, size=5):
    """The order 0 ... size - 1 with two of them swapped."""
    order = np.arange(size, dtype=np.float32)
    order[[a, b]] = order[[b, a]]
    return jnp.asarray(order)


@modes
@pytest.mark.parametrize("predicted, value", [(1, 0.2075), (2, 0.3333), (3, 0.4195), (4, 0.4830)])
def test_printed_penalties_of_the_paper(mode, predicted, value):
    penalties = mode(functools.partial(rank_penalties, **PRINTED))
    assert float(penalties(jnp.arange(5.0), swapped(0, predicted))[0]) == pytest.approx(
        value, abs=5e-5
    )


def test_printed_penalty_of_a_response_ranked_too_high_is_negative():
    # True 4, predicted 3: 1 - (log2(5) / 4) / (log2(6) / 5) = 1 - 0.58048 / 0.51699.
    # The paper says 0.0243, which no discount gives.
    penalty = rank_penalties(jnp.arange(5.0), swapped(3, 4), **PRINTED)[4]
    assert float(penalty) == pytest.approx(-0.1228, abs=5e-5)


def test_product_discount_does_not_reproduce_the_paper():
    penalty = rank_penalties(jnp.arange(5.0), swapped(0, 4), form="printed", discount="product")
    assert float(penalty[0]) == pytest.approx(0.9226, abs=5e-5)


def test_printed_advantages_by_hand():
    # Two responses that the policy ranks the wrong way round; D = 1, 0.79248.
    # delta = 1 - 0.79248 = 0.20752 and 1 - 1 / 0.79248 = -0.26186; mean -0.02717.
    advantages = rank_advantages(jnp.arange(2.0), swapped(0, 1, 2), **PRINTED)
    np.testing.assert_allclose(advantages, [-0.23469, 0.23469], atol=1e-5)


# G = 5, D = 1, 0.63093, 0.5, 0.43068, 0.38685; sum 2.94846, mean 0.58969.
# The policy swaps first and last: h = 0.38685, 0.63093, 0.5, 0.43068, 1.
@modes
@pytest.mark.parametrize(
    "mix, expected",
    [
        # A = g - mean
        (0.0, [0.41031, 0.04124, -0.08969, -0.15901, -0.20284]),
        # A = g - 0.75 * 0.58969 - 0.25 h = g - 0.44227 - 0.25 h; first: 1 - 0.44227 - 0.09671
        (0.25, [0.46102, 0.03093, -0.06727, -0.11926, -0.30542]),
        # A = g - h
        (1.0, [0.61315, 0.0, 0.0, 0.0, -0.61315]),
    ],
)
def test_signed_advantages_by_hand(mode, mix, expected):
    advantages = mode(functools.partial(rank_advantages, mix=mix))
    np.testing.assert_allclose(advantages(jnp.arange(5.0), swapped(0, 4)), expected, atol=2e-5)


def test_signed_advantages_with_ties_by_hand():
    # The Oracle ties 0 and 1 in front of 2, 3 and 4, which it also ties:
    #   g = (1 + 0.63093) / 2 = 0.81546 and (0.5 + 0.43068 + 0.38685) / 3 = 0.43918
    # The policy's order is 4, 0, 1, 2, 3: gains 0.63093, 0.5, 0.43068, 0.38685, 1; over those ties
    #   h = (0.63093 + 0.5) / 2 = 0.56546 and (0.43068 + 0.38685 + 1) / 3 = 0.60584
    # mix 0.25:
    #   0.81546 - 0.44227 - 0.25 * 0.56546 = 0.23183; 0.43918 - 0.44227 - 0.25 * 0.60584 = -0.15455
    oracle, predicted = jnp.array([0.5, 0.5, 3, 3, 3]), jnp.array([1.0, 2, 3, 4, 0])
    expected = [0.23183, 0.23183, -0.15455, -0.15455, -0.15455]
    np.testing.assert_allclose(rank_advantages(oracle, predicted, mix=0.25), expected, atol=2e-5)
    penalties = [-0.25, -0.25, 0.16667, 0.16667, 0.16667]  # h - g
    np.testing.assert_allclose(rank_penalties(oracle, predicted), penalties, atol=2e-5)


@compiled
@given(orders, variants)
def test_every_form_sums_to_zero(pair, variant):
    advantages = rank_advantages(*both_ranks(pair), **variant)
    assert float(jnp.sum(advantages)) == pytest.approx(0, abs=5e-6)


@compiled
@given(orders, variants)
def test_every_form_is_bounded(pair, variant):
    advantages = np.asarray(rank_advantages(*both_ranks(pair), **variant))
    size, top, low = len(pair[0]), *gains(jnp.array([0.0, 1.0]), variant["discount"])[:1], 0.0
    weights = np.asarray(gains(jnp.arange(size, dtype=jnp.float32), variant["discount"]))
    bound = (
        top - low
        if variant["form"] == "signed"
        else weights[0] / weights[-1] - weights[-1] / weights[0]
    )
    assert np.all(np.abs(advantages) <= bound + 1e-5)


@compiled
@given(
    st.permutations(range(5)),
    st.tuples(*[st.lists(st.integers(0, 3), min_size=5, max_size=5)] * 2),
    variants,
)
def test_permuting_a_group_permutes_its_advantages(order, pair, variant):
    oracle, predicted = both_ranks(pair)
    shuffled = rank_advantages(oracle[jnp.array(order)], predicted[jnp.array(order)], **variant)
    expected = rank_advantages(oracle, predicted, **variant)[jnp.array(order)]
    np.testing.assert_allclose(shuffled, expected, atol=2e-6)


@compiled
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), variants)
def test_exactly_zero_where_the_oracle_ties_everything(predicted, variant):
    oracle, predicted = both_ranks(([0] * len(predicted), predicted))
    assert not np.any(rank_advantages(oracle, predicted, **variant))
    options = {key: variant[key] for key in ("form", "discount")}
    assert not np.any(rank_penalties(oracle, predicted, **options))


@compiled
@given(orders)
def test_mix_1_is_zero_exactly_where_the_weak_orders_agree(pair):
    oracle, predicted = both_ranks(pair)
    before = np.asarray(oracle)[:, None] < np.asarray(oracle)[None, :]
    agree = np.all(np.asarray(predicted)[:, None] < np.asarray(predicted)[None, :], where=before)
    advantages = rank_advantages(oracle, predicted, mix=1.0)
    assert bool(np.all(np.abs(advantages) < 1e-5)) == agree


@compiled
@given(orders, st.sampled_from(DISCOUNTS))
def test_penalty_is_what_mix_1_subtracts(pair, discount):
    oracle, predicted = both_ranks(pair)
    advantages = rank_advantages(oracle, predicted, mix=1.0, discount=discount)
    np.testing.assert_allclose(advantages, -rank_penalties(oracle, predicted, discount=discount))


@compiled
@given(orders)
def test_responses_that_the_oracle_ties_get_the_same_advantage(pair):
    oracle, predicted = both_ranks(pair)
    advantages = np.asarray(rank_advantages(oracle, predicted, mix=0.5))
    for rank in np.unique(oracle):
        assert np.ptp(advantages[np.asarray(oracle) == rank]) < 1e-6


def test_leading_axes_are_free():
    oracle, predicted = jax.random.uniform(jax.random.key(0), (2, 3, 4, 5))
    whole = rank_advantages(ranks(oracle), ranks(predicted))
    one = rank_advantages(ranks(oracle[2, 1]), ranks(predicted[2, 1]))
    assert whole.shape == (3, 4, 5)
    np.testing.assert_allclose(whole[2, 1], one, atol=1e-7)
    np.testing.assert_allclose(jax.vmap(rank_advantages)(ranks(oracle), ranks(predicted)), whole)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"form": "plain"}, "'plain'.*signed, printed"),
        ({"discount": "x"}, "'x'.*log2, printed, product"),
        ({"mix": 1.5}, "mix is 1.5.*0, 1"),
    ],
)
def test_invalid_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        rank_advantages(jnp.arange(3.0), jnp.arange(3.0), **options)


def test_the_predicted_ranks_are_needed_only_where_they_are_used():
    oracle, predicted = jnp.array([1.0, 0.0, 2.0]), jnp.array([0.0, 1.0, 2.0])
    np.testing.assert_array_equal(rank_advantages(oracle), rank_advantages(oracle, predicted))
    for options in ({"mix": 0.25}, {"form": "printed"}):
        with pytest.raises(ValueError, match="form '.*' needs predicted_ranks"):
            rank_advantages(oracle, **options)


SCORE_FORMS = (centred_advantages, leave_one_out_advantages, standardised_advantages)
SCORES = jnp.array([1.0, 0.0, 2.0, 1.0])


@modes
def test_score_advantages_by_hand(mode):
    # mean 1; the others of the first: (0 + 2 + 1) / 3 = 1; of the second 4/3; of the third 2/3
    np.testing.assert_allclose(mode(centred_advantages)(SCORES), [0, -1, 1, 0], atol=1e-6)
    expected = [0, -4 / 3, 4 / 3, 0]
    np.testing.assert_allclose(mode(leave_one_out_advantages)(SCORES), expected, atol=1e-6)
    # sample deviation sqrt(2 / 3) = 0.8165; 1 / 0.8166 = 1.22460
    expected = [0, -1.2246, 1.2246, 0]
    np.testing.assert_allclose(mode(standardised_advantages)(SCORES), expected, atol=1e-4)


@modes
def test_linear_rank_advantages_by_hand(mode):
    of = mode(linear_rank_advantages)
    np.testing.assert_allclose(of(jnp.array([0, 1, 2, 3, 4])), [2, 1, 0, -1, -2], atol=1e-6)
    # positions 1 and 2 are tied and share 1.5, written as their mean or as the lowest rank
    expected = [2, 2 - 4 * 1.5 / 3, 2 - 4 * 1.5 / 3, -2]
    np.testing.assert_allclose(of(jnp.array([0, 1.5, 1.5, 3])), expected, atol=1e-6)
    np.testing.assert_allclose(of(jnp.array([0, 1, 1, 3])), expected, atol=1e-6)


def test_leave_one_out_is_the_mean_of_the_others():
    scores = np.random.default_rng(0).normal(size=(7, 5))
    expected = [[row[i] - np.delete(row, i).mean() for i in range(5)] for row in scores]
    np.testing.assert_allclose(leave_one_out_advantages(scores), expected, atol=1e-6)


score_groups = arrays(
    np.float32, st.tuples(st.just(3), st.integers(2, 8)), elements=st.floats(-9, 9, width=32)
)


@settings(deadline=None, max_examples=40)
@given(score_groups)
def test_score_advantages_are_zero_sum_and_ordered_like_the_scores(scores):
    for form in (*SCORE_FORMS, lambda s: linear_rank_advantages(ranks(s))):
        advantages = np.asarray(form(scores))
        assert np.abs(advantages.sum(axis=-1)).max() < 1e-3
        order = np.sign(scores[:, :, None] - scores[:, None, :])
        difference = advantages[:, :, None] - advantages[:, None, :]
        assert (difference * order >= -1e-4).all()


@pytest.mark.parametrize("form", SCORE_FORMS)
def test_equal_scores_have_no_signal(form):
    assert (form(jnp.full((2, 5), 0.1)) == 0).all()


def test_only_the_z_score_removes_scale_and_offset():
    for form, same in ((standardised_advantages, True), (centred_advantages, False)):
        one, other = form(SCORES), form(10 * SCORES + 3)
        assert np.allclose(one, other, atol=1e-3) == same
    warped = standardised_advantages(SCORES**3)  # same order, different gaps
    assert not np.allclose(warped, standardised_advantages(SCORES), atol=1e-2)


@functools.partial(jax.jit, static_argnames=("form", "mix", "discount"))
def bandit_quality(key, *, form, mix=0.25, discount="log2"):
    """Expected quality before and after 100 steps of a softmax bandit, 64 prompts, 8 responses."""
    start_key, quality_key, steps_key = jax.random.split(key, 3)
    quality = jax.random.uniform(quality_key, (64, 8))
    start = jax.random.normal(start_key, (64, 8)) + quality

    def surrogate(logits, actions, advantages):
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), actions, axis=-1)
        return jnp.sum(chosen * advantages)

    def step(logits, key):
        actions = jax.random.categorical(key, logits[:, None], shape=(64, 5))
        oracle = ranks(jnp.take_along_axis(quality, actions, axis=-1))
        predicted = ranks(jnp.take_along_axis(jax.nn.log_softmax(logits), actions, axis=-1))
        advantages = rank_advantages(oracle, predicted, form=form, mix=mix, discount=discount)
        return logits + 0.3 * jax.grad(surrogate)(logits, actions, advantages), None

    end, _ = jax.lax.scan(step, start, jax.random.split(steps_key, 100))
    return tuple(jnp.mean(jnp.sum(jax.nn.softmax(x) * quality, -1)) for x in (start, end))


@pytest.mark.parametrize("mix", [0.0, 0.25, 1.0])
def test_signed_raises_the_quality_of_a_bandit(mix):
    before, after = bandit_quality(jax.random.key(1), form="signed", mix=mix)
    assert after > before + 0.05


@pytest.mark.parametrize("discount", ["printed", "product"])
def test_printed_lowers_the_quality_of_a_bandit(discount):
    before, after = bandit_quality(jax.random.key(1), form="printed", discount=discount)
    assert after < before - 0.05
