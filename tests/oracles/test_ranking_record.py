"""Rankings from good and bad answers of an Oracle."""

import math
import re

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_jax.oracles.ranking import Ranking

unhurried = settings(deadline=None)  # the machine may be busy


@pytest.mark.parametrize(
    "order, ranks",
    [
        ([2, 0, 1], (1, 2, 0)),
        ([2, [0, 1]], (1.5, 1.5, 0)),
        ([[0, 1, 2]], (1, 1, 1)),
        ([(1,), {0, 2}], (1.5, 0, 1.5)),
        (np.array([1, 2, 0]), (2, 0, 1)),
        ((2, 1, 0), (2, 1, 0)),
    ],
)
def test_an_order(order, ranks):
    assert Ranking.from_order(order, 3) == Ranking(ranks)


@pytest.mark.parametrize(
    "order, reason",
    [
        ([], r"\[0, 1, 2\] are missing"),
        ([0, 1, 2, 1], r"\[1\] are named more than once"),
        ([[0, 0], 1, 2], r"\[0\] are named more than once"),
        ([1, 2, 3], r"index 3 is outside 0 \.\.\. 2"),
        ([0, 1, -1], "index -1 is outside"),
        ([0, 1, "2"], "'2' is not an index"),
        ([0, 1, 2.0], "2.0 is not an index"),
        ([False, True, 2], "False is not an index"),
        ([[[0]], 1, 2], r"\[0\] is not an index"),
        ([0, None, 2], "None is not an index"),
        ("012", "the order is not a list but '012'"),
        ({0: 1}, "not a list"),
        (None, "not a list but None"),
        (np.array(3), "0-d"),
    ],
)
@pytest.mark.parametrize("make", [Ranking.from_order, Ranking.from_top_k])
def test_a_bad_answer_is_an_invalid_ranking_with_its_reason(make, order, reason):
    ranking = make(order, 3, raw="what it said", seconds=2.0)
    assert not ranking.valid
    assert ranking.ranks == (1, 1, 1) and ranking.raw == "what it said" and ranking.seconds == 2.0
    assert re.search(reason, ranking.reason)


def test_an_order_names_every_response():
    assert Ranking.from_order([0, 1], 3).reason == "responses [2] are missing from the order"


@pytest.mark.parametrize(
    "top, ranks",
    [([2], (2, 2, 0, 2)), ([[0, 3], 1], (0.5, 2, 3, 0.5)), ([3, 2, 1, 0], (3, 2, 1, 0))],
)
def test_a_top_k_ties_the_rest_last(top, ranks):
    assert Ranking.from_top_k(top, 4) == Ranking(ranks)


@unhurried
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=8))
def test_scores_are_ranked_as_scipy_does(scores):
    expected = scipy.stats.rankdata([-score for score in scores]) - 1
    assert Ranking.from_scores(scores, len(scores)).ranks == tuple(expected)


def test_scores_are_kept():
    ranking = Ranking.from_scores(np.array([0.5, 2, 0.5], np.float32), 3)
    assert ranking.scores == (0.5, 2.0, 0.5) and ranking.ranks == (1.5, 0, 1.5)
    assert all(type(score) is float for score in ranking.scores)
    assert Ranking.from_order([1, [0, 2]], 3).scores == ()


def test_infinite_scores_are_ranked_and_dropped():
    ranking = Ranking.from_scores([0.0, -math.inf, math.inf])
    assert ranking.valid and ranking.ranks == (1, 2, 0) and ranking.scores == ()


@pytest.mark.parametrize(
    "order, tiers",
    [([2, 0, 1], ((2,), (0,), (1,))), ([2, [1, 0]], ((2,), (0, 1))), ([[0, 1, 2]], ((0, 1, 2),))],
)
def test_tiers(order, tiers):
    assert Ranking.from_order(order, 3).tiers == tiers


@unhurried
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_tiers_round_trip(scores):
    ranking = Ranking.from_scores(scores)
    assert Ranking.from_order(ranking.tiers, len(scores)).ranks == ranking.ranks


@unhurried
@given(st.permutations(range(6)), st.integers(0, 6))
def test_order_top_k_and_scores_agree(order, k):
    ranking = Ranking.from_order(order, 6)
    assert [ranking.ranks[index] for index in order] == [0, 1, 2, 3, 4, 5]
    assert ranking.ranks == Ranking.from_scores([-rank for rank in ranking.ranks]).ranks
    top = Ranking.from_top_k(order[:k], 6)
    assert top.valid == (k > 0)
    if top.valid and k < 6:
        assert top == Ranking.from_order([*order[:k], order[k:]], 6)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 6) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
)


@unhurried
@given(anything, st.integers(1, 5))
def test_any_answer_gives_a_ranking_of_the_right_size(answer, size):
    for make in (Ranking.from_order, Ranking.from_top_k, Ranking.from_scores):
        ranking = make(answer, size)
        assert len(ranking.ranks) == size and sum(ranking.ranks) == size * (size - 1) / 2
        assert ranking.valid == (ranking.reason == "")


@pytest.mark.parametrize(
    "scores, reason",
    [
        ([1.0, math.nan], "nan"),
        ([1.0, "2"], "'2' is not a number"),
        ([1.0, None], "NoneType"),
        ([1.0, 10**400], "too large"),
        ([1.0], "1 scores for 2 responses"),
        (3.0, "not iterable"),
    ],
)
def test_bad_scores_are_invalid(scores, reason):
    ranking = Ranking.from_scores(scores, 2)
    assert not ranking.valid and reason in ranking.reason


@pytest.mark.parametrize(
    "make",
    [
        lambda: Ranking((1.0, 2.0)),  # counted from 1
        lambda: Ranking((0.0, 0.0, 1.0)),  # a tie at its lowest rank
        lambda: Ranking((0.0, math.nan)),
        lambda: Ranking(()),
        lambda: Ranking((0.5, 0.5), valid=False),  # without a reason
        lambda: Ranking((0.0, 1.0), scores=(1.0,)),
        lambda: Ranking((0.0, 1.0), scores=(1.0, 2.0)),  # reversed
        lambda: Ranking((0.0, 1.0), scores=(1.0, 1.0)),  # tied, but the ranks are not
        lambda: Ranking((0.5, 0.5), scores=(2.0, 1.0)),
        lambda: Ranking((0.0, 1.0), scores=(math.inf, 1.0)),
        lambda: Ranking((0.5, 0.5), scores=(math.nan, math.nan)),
        lambda: Ranking((0.5, 0.5), valid=False, reason="no", scores=(1.0, 1.0)),
        lambda: Ranking.from_order([0], 0),
        lambda: Ranking.invalid("no", 0),
        lambda: Ranking.from_scores([]),
    ],
)
def test_programming_errors_are_raised(make):
    with pytest.raises(ValueError):
        make()
