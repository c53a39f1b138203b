"""Near scores are tied, but no tier is wider than the margin; how a ranker's validation is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_jax.oracles import Ranking
from orl_jax.rl.score_model import validation, verdict
from orl_jax.rl.score_oracle import TRAINED, ScoreOracle
from orl_jax.rl.tiers import tier_ranks, tiers


def test_near_scores_are_tied():
    assert tiers([0.0, 2.0, 1.9], 0.2) == [[1, 2], [0]]
    assert tiers([0.0, 2.0, 1.9], 0.0) == [[1], [2], [0]]
    assert tiers([1.0, 1.0, 3.0], 0.0) == [[2], [0, 1]]
    assert tiers([0.3, 0.2, 0.1], 0.15) == [[0, 1], [2]]  # not all three, one after the other
    assert tier_ranks(np.array([[0.0, 2.0, 1.9]]), 0.2).tolist() == [[2, 0.5, 0.5]]


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=8), st.floats(0, 3))
def test_no_tier_is_wider_than_the_margin(scores, margin):
    found = tiers(scores, margin)
    assert sorted(place for tier in found for place in tier) == list(range(len(scores)))
    for tier in found:
        assert max(scores[i] for i in tier) - min(scores[i] for i in tier) <= margin
    for better, worse in zip(found, found[1:], strict=False):
        assert min(scores[i] for i in better) > max(scores[i] for i in worse)


def test_few_groups_are_tied_whole():
    """Of groups of five with scores N(0, 1) and the margin 1: 4.5 %; by neighbours 42 % were."""
    groups = np.random.default_rng(0).normal(size=(5000, 5))
    whole = np.mean([len(tiers(row, 1.0)) == 1 for row in groups.tolist()])
    assert whole == pytest.approx(0.045, abs=0.01)


def test_a_validation_counts_what_the_oracle_will_say():
    """Two held-out groups that the scores order rightly, and the margin ties completely."""
    scores, ranks = np.array([[0.2, 0.1], [0.3, 0.0]]), np.array([[0.0, 1.0]] * 2)
    found = validation(scores, ranks, 1.0)
    assert found == {
        "validation/accuracy": 1.0, "validation/pairs": 2.0,
        "validation/accuracy_as_ranked": 0.5, "validation/tied": 1.0,
    }  # fmt: skip
    assert verdict(found, 2, 1.0) == (
        "of the 2 pairs in 2 held-out groups 100.0% are right by their scores, 50.0% as the Oracle "
        "ranks them (oracle.tie_margin = 1 ties 100.0%, which count half); so few pairs say "
        "little: 95 % interval 9% to 91%"
    )
    assert validation(scores, ranks, 0.0)["validation/accuracy_as_ranked"] == 1.0
    plain = validation(np.repeat(scores, 60, axis=0), np.repeat(ranks, 60, axis=0), None)
    assert verdict(plain, 120, None) == "of the 120 pairs in 120 held-out groups 100.0% are right"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_are_no_ranking(bad):
    for kind in TRAINED.values():
        oracle = ScoreOracle.__new__(ScoreOracle)
        oracle._kind, oracle._tie_margin = kind, 1.0
        assert oracle._ranking([1.0, bad, 0.0]) == Ranking.invalid(
            "scores that are not finite numbers", 3
        )
