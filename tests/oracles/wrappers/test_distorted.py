"""The Oracle whose scores have a different scale for every prompt."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import Orderer, Reader, request

from orl_jax.oracles import DistortedOracle, RankRequest

unhurried = settings(deadline=None)  # the machine may be busy
NAMES = [f"p{i}" for i in range(2000)]


def scores(oracle, *values, prompt_id="p"):
    """The scores that the Oracle gives to responses with these scores."""
    return oracle.rank([request(*values, prompt_id=prompt_id)])[0].scores


def distorted(count, strength=1.0, seed=0):
    """Ascending scores of all prompts, [prompt, response]."""
    oracle = DistortedOracle(Reader(), strength, seed)
    return np.array([scores(oracle, *range(count), prompt_id=name) for name in NAMES])


def test_without_distortion_scores_count_the_levels():
    plain = DistortedOracle(Reader(), 0.0)
    assert scores(plain, 0.9, -4, 0.9, 0.2) == (2, 0, 2, 1)
    assert scores(plain, 7) == (0,) and scores(plain, 3, 3) == (0, 0)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_offset_scale_and_gaps_are_distributed_as_documented(strength):
    levels = distorted(3, strength)
    logs = np.log(np.diff(levels)) / strength  # scale + gap, both normal
    normal = scipy.stats.norm(0, 1).cdf
    assert scipy.stats.kstest(levels[:, 0] / strength, normal).pvalue > 0.001
    assert scipy.stats.kstest(logs[:, 0] / math.sqrt(2), normal).pvalue > 0.001
    # two gaps of a prompt share its scale: their ratio does not hold it, their correlation shows it
    assert scipy.stats.kstest((logs[:, 0] - logs[:, 1]) / math.sqrt(2), normal).pvalue > 0.001
    assert np.corrcoef(logs.T)[0, 1] == pytest.approx(0.5, abs=0.08)


def test_a_prompt_keeps_its_scale_whatever_the_answers():
    oracle = DistortedOracle(Reader(), seed=1)
    levels = scores(oracle, 0, 1, 2, 3)
    assert scores(oracle, 30, 10, 20) == (levels[2], levels[0], levels[1])
    assert scores(oracle, 5, 5, 8) == (levels[0], levels[0], levels[1])
    assert scores(oracle, 0, 1, 2, 3) == levels
    assert scores(DistortedOracle(Orderer(), seed=1), 0, 1, 2, 3) == levels  # an order is enough
    assert scores(oracle, 0, 1, 2, 3, prompt_id="q") != levels
    assert scores(DistortedOracle(Reader(), seed=2), 0, 1, 2, 3) != levels


def test_a_z_score_removes_offset_and_scale_but_not_the_gaps():
    assert np.ptp(scipy.stats.zscore(distorted(2), axis=1), axis=0).max() < 1e-6
    assert np.ptp(scipy.stats.zscore(distorted(3), axis=1), axis=0).min() > 0.5


@unhurried
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=7),
    st.floats(0, 10),
    st.integers(0, 99),
    st.text(max_size=3),
)
def test_the_ranks_never_change(values, strength, seed, prompt_id):
    batch = [request(*values, prompt_id=prompt_id)]
    before, after = (
        Reader().rank(batch)[0],
        DistortedOracle(Reader(), strength, seed).rank(batch)[0],
    )
    assert after.ranks == before.ranks and len(after.scores) == len(values)
    assert (after.raw, after.seconds) == ("said", 2.0)


def test_steps_lost_to_rounding_still_count():
    # exp(10 * Normal) spans e^±30: small gaps vanish next to large ones
    levels = distorted(6, strength=10.0)
    assert np.isfinite(levels).all() and (np.diff(levels) > 0).all()


def test_invalid_rankings_pass():
    batch = [RankRequest("q", "?", ("bad", "1"))]
    assert DistortedOracle(Reader()).rank(batch) == Reader().rank(batch)


@pytest.mark.parametrize("strength", [-1, 10.5, math.nan, "much", None])
def test_the_strength_is_checked(strength):
    with pytest.raises(ValueError, match=r"strength is .*; it must lie in \[0, 10\]"):
        DistortedOracle(Reader(), strength)
