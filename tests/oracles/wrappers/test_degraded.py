"""Oracles that reverse an order or keep only part of it."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import Orderer, Reader, request

from orl_jax.oracles import CoarseOracle, Ranking, RankRequest, ReversedOracle, TopOracle

unhurried = settings(deadline=None)  # the machine may be busy
groups = st.lists(st.integers(0, 4), min_size=1, max_size=7)
WRAPPERS = [ReversedOracle(Reader()), TopOracle(Reader(), 2), CoarseOracle(Reader(), 3)]


def said(oracle, *scores, prompt_id="p"):
    """What the Oracle says of responses with these scores."""
    return oracle.rank([request(*scores, prompt_id=prompt_id)])[0]


@pytest.mark.parametrize(
    "oracle, scores, ranks",
    [
        (ReversedOracle(Reader()), (5, 4, 4, 1), (3, 1.5, 1.5, 0)),
        (TopOracle(Reader()), (1, 2, 3, 4, 5), (2.5, 2.5, 2.5, 2.5, 0)),
        (TopOracle(Reader(), 2), (1, 2, 3, 4, 5), (3, 3, 3, 1, 0)),
        (TopOracle(Reader(), 3), (3, 5, 5, 1, 1), (2, 0.5, 0.5, 3.5, 3.5)),  # a tie above the cut
        (TopOracle(Reader(), 9), (3, 5, 5, 1), (2, 0.5, 0.5, 3)),
        # 5 tiers to 2 levels: floor(t * 2 / 5) = 0 0 0 1 1; to 3: floor(t * 3 / 5) = 0 0 1 1 2
        (CoarseOracle(Reader()), (5, 4, 3, 2, 1), (1, 1, 1, 3.5, 3.5)),
        (CoarseOracle(Reader(), 3), (1, 2, 3, 4, 5), (4, 2.5, 2.5, 0.5, 0.5)),
        (CoarseOracle(Reader()), (7, 7, 7, 2, 1), (1.5, 1.5, 1.5, 1.5, 4)),  # tiers, not responses
        (CoarseOracle(Reader()), (7, 7, 1), (0.5, 0.5, 2)),
        (CoarseOracle(Reader()), (7, 7, 7), (1, 1, 1)),
        (CoarseOracle(Reader(), 9), (3, 1, 2), (0, 2, 1)),
    ],
)
def test_what_is_left_of_an_order(oracle, scores, ranks):
    assert said(oracle, *scores).ranks == ranks


def test_scores_are_negated_or_dropped():
    assert said(ReversedOracle(Reader()), 5, 4, 0).scores == (-5, -4, 0)
    assert said(ReversedOracle(Orderer()), 5, 4, 0) == Ranking((2, 1, 0), raw="said")
    assert said(TopOracle(Reader(), 3), 5, 4, 0).scores == ()
    assert said(CoarseOracle(Reader(), 3), 5, 4, 0).scores == ()


@pytest.mark.parametrize("oracle", WRAPPERS)
def test_raw_and_seconds_are_kept_and_invalid_rankings_pass(oracle):
    batch = [request(1, 2, 3), RankRequest("q", "?", ("bad", "1"))]
    ranking, invalid = oracle.rank(batch)
    assert (ranking.valid, ranking.raw, ranking.seconds) == (True, "said", 2.0)
    assert invalid == Reader().rank(batch)[1] and invalid.seconds == 2.0


@unhurried
@given(groups)
def test_reversing_twice_restores_the_order(scores):
    assert said(ReversedOracle(ReversedOracle(Reader())), *scores) == said(Reader(), *scores)


@unhurried
@given(groups, st.integers(1, 8), st.integers(0, 99))
def test_a_top_names_k_and_contradicts_nothing(scores, k, seed):
    top = said(TopOracle(Reader(), k, seed), *scores)
    full = np.array(said(Reader(), *scores).ranks)
    named = [index for tier in top.tiers[:-1] for index in tier] if k < len(scores) else [*full]
    assert len(named) == min(k, len(scores))
    ranks = np.array(top.ranks)
    better = ranks[:, None] < ranks
    assert not (better & (full[:, None] > full)).any()


def test_the_choice_among_equals_is_random_and_fixed():
    oracle, names = TopOracle(Reader(), seed=3), [f"p{i}" for i in range(1000)]
    once = [said(oracle, 1, 1, 1, 0, 1, prompt_id=name) for name in names]
    assert once == [said(oracle, 1, 1, 1, 0, 1, prompt_id=name) for name in names]
    counts = np.bincount([ranking.ranks.index(0) for ranking in once], minlength=5)
    assert counts[3] == 0
    assert scipy.stats.chisquare(counts[[0, 1, 2, 4]]).pvalue > 0.001
    batch = [request(1, 1, 1, 0, 1, prompt_id=name) for name in names[:50]]
    assert oracle.rank(batch) == once[:50]  # in any batch
    assert TopOracle(Reader(), seed=4).rank(batch) != once[:50]
    other = [request(2, 2, 2, 0, 2, prompt_id=name) for name in names[:50]]
    assert oracle.rank(other) != once[:50]  # other responses


def test_a_tie_at_the_cut_is_cut():
    ranking = said(TopOracle(Reader(), 3), 9, 1, 1, 1, 1)
    assert ranking.ranks[0] == 0 and sorted(ranking.ranks) == [0, 1.5, 1.5, 3.5, 3.5]


@unhurried
@given(groups, st.integers(2, 5))
def test_coarse_levels_keep_the_order_and_are_few(scores, levels):
    fine = said(Reader(), *scores)
    coarse = said(CoarseOracle(Reader(), levels), *scores)
    assert len(coarse.tiers) == min(levels, len(fine.tiers))
    before, after = np.array(fine.ranks), np.array(coarse.ranks)
    worse = before[:, None] > before
    assert (after[:, None] >= after)[worse].all()
    assert (after[:, None] == after)[before[:, None] == before].all()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: TopOracle(Reader(), 0), "k is 0; it must be an integer of at least 1"),
        (lambda: TopOracle(Reader(), 1.0), "k is 1.0"),
        (lambda: TopOracle(Reader(), True), "k is True"),
        (lambda: CoarseOracle(Reader(), 1), "levels is 1; it must be an integer of at least 2"),
    ],
)
def test_sizes_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
