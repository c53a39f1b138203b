"""The Oracle with random errors."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_jax.oracles import NoisyOracle, Ranking, RankRequest

unhurried = settings(deadline=None)  # the machine may be busy


class Alphabet:
    """Ranks responses by their text; ties are equal texts."""

    def __init__(self, scores=True):
        self.scores = scores

    def rank(self, requests):
        """One ranking per request."""
        return [self.rank_one(request) for request in requests]

    def rank_one(self, request):
        """Invalid where a response is bad."""
        if "bad" in request.responses:
            return Ranking.from_order([], 5)
        ranking = Ranking.from_scores([-ord(text[0]) for text in request.responses], raw="abc")
        return ranking if self.scores else Ranking(ranking.ranks, raw="abc")


def requests(count, responses=("a", "b", "c", "d", "e")):
    """Requests that differ only in their prompt."""
    return [RankRequest(f"p{i}", "?", tuple(responses)) for i in range(count)]


def mean_tau(swap_probability):
    """Mean rank correlation of 300 noisy rankings with the clean one."""
    noisy = NoisyOracle(Alphabet(), swap_probability).rank(requests(300))
    return np.mean([scipy.stats.kendalltau(k.ranks, range(5)).statistic for k in noisy])


def test_no_noise_changes_nothing():
    assert NoisyOracle(Alphabet()).rank(requests(3)) == Alphabet().rank(requests(3))


def test_noise_grows_with_the_probability():
    taus = [mean_tau(p) for p in (0.0, 0.2, 0.5, 1.0)]
    assert taus[0] > 1 - 1e-9 and taus[0] > taus[1] > taus[2] > taus[3]
    assert abs(taus[3]) < 0.1  # nothing left of the order


def test_the_noise_of_a_seed_is_always_the_same():
    # recorded from the first version: a resumed run must see the same rankings
    noisy = NoisyOracle(Alphabet(), 0.5, 0.2, seed=1).rank(requests(4))
    assert [k.ranks for k in noisy if k.valid] == [
        (1, 0, 2, 3, 4),
        (2, 0, 3, 1, 4),
        (2, 4, 0, 1, 3),
    ]
    assert not noisy[1].valid


@pytest.mark.parametrize(
    "probability, share",
    [(0.1310, 0.10), (0.2, 0.1475), (0.2825, 0.20), (0.4635, 0.30), (0.6, 0.3632), (1.0, 0.5)],
)
def test_share_of_inverted_pairs(probability, share):
    # (2934 p - 1466 p^2 + 370 p^3 - 38 p^4) / 3600, as the docstring says
    noisy = NoisyOracle(Alphabet(), probability).rank(requests(3000))
    ranks = np.array([ranking.ranks for ranking in noisy])
    first, second = np.triu_indices(5, 1)
    assert np.mean(ranks[:, first] > ranks[:, second]) == pytest.approx(share, abs=0.015)


def test_full_noise_is_uniform():
    first = [k.ranks.index(0) for k in NoisyOracle(Alphabet(), 1.0).rank(requests(1000))]
    assert scipy.stats.chisquare(np.bincount(first, minlength=5)).pvalue > 0.001


def test_share_of_withheld_rankings():
    noisy = NoisyOracle(Alphabet(), invalid_probability=0.3).rank(requests(500))
    withheld = [ranking for ranking in noisy if not ranking.valid]
    assert 0.2 < len(withheld) / 500 < 0.4
    assert withheld[0] == Ranking.invalid("withheld by the noisy Oracle", 5, raw="abc")


def test_noise_depends_only_on_seed_prompt_and_responses():
    oracle, batch = NoisyOracle(Alphabet(), 0.5, 0.2, seed=1), requests(50)
    once = oracle.rank(batch)
    assert once == NoisyOracle(Alphabet(), 0.5, 0.2, seed=1).rank(batch)
    assert once == [oracle.rank([request])[0] for request in batch]  # in any batch
    assert once[::-1] == oracle.rank(batch[::-1])
    assert once != NoisyOracle(Alphabet(), 0.5, 0.2, seed=2).rank(batch)
    assert once != oracle.rank(requests(50, ("a", "b", "c", "d", "f")))
    assert len({ranking.ranks for ranking in once}) > 10


@unhurried
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.floats(0, 1), st.integers(0, 99)
)
def test_the_shape_of_the_ties_stays(responses, probability, seed):
    batch = requests(1, responses)
    noisy = NoisyOracle(Alphabet(), probability, seed=seed).rank(batch)[0]
    assert sorted(noisy.ranks) == sorted(Alphabet().rank(batch)[0].ranks)
    assert noisy.raw == "abc"


@unhurried
@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.floats(0, 1), st.integers(0, 99)
)
def test_scores_go_with_their_ranks(responses, probability, seed):
    batch = requests(1, responses)
    clean = Alphabet().rank(batch)[0]
    noisy = NoisyOracle(Alphabet(), probability, seed=seed).rank(batch)[0]
    score_of = dict(zip(clean.ranks, clean.scores, strict=True))
    assert noisy.scores == tuple(score_of[rank] for rank in noisy.ranks)


def test_an_order_without_scores_stays_without():
    noisy = NoisyOracle(Alphabet(scores=False), 0.5).rank(requests(20))
    assert all(ranking.scores == () for ranking in noisy)
    assert [k.ranks for k in noisy] == [
        k.ranks for k in NoisyOracle(Alphabet(), 0.5).rank(requests(20))
    ]


def test_invalid_stays_invalid():
    batch = [RankRequest("p", "?", ("bad", "b", "c", "d", "e"))]
    assert NoisyOracle(Alphabet(), 1.0, 1.0).rank(batch) == Alphabet().rank(batch)


@pytest.mark.parametrize(
    "bad", [{"swap_probability": 1.5}, {"invalid_probability": -0.1}, {"swap_probability": "x"}]
)
def test_probabilities_are_checked(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is .*0, 1"):
        NoisyOracle(Alphabet(), **bad)
