"""Metrics of ranks and of the sampler, by hand and where they are not defined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.models.sequences import Responses
from orl_jax.ops.advantages import rank_advantages, rank_penalties
from orl_jax.ops.predicted_order import predicted_ranks
from orl_jax.ops.ranking import ranks
from orl_jax.rl.batch import Judgement, Ranked, RolloutBatch
from orl_jax.rl.rl_metrics import correlation, of_ranks, of_sampler


def metrics(oracle, predicted, advantages, penalties, valid, lengths=None):
    """`of_ranks` of plain lists, as floats."""
    lengths = jnp.ones_like(jnp.array(predicted)) if lengths is None else jnp.array(lengths)
    mask = jnp.arange(int(lengths.max())) < lengths[..., None]
    batch = RolloutBatch(None, None, Responses(None, mask, None))
    arrays = (jnp.array(x, jnp.float32) for x in (predicted, advantages, penalties))
    judgement = Judgement(jnp.array(oracle, jnp.float32), None, jnp.array(valid))
    ranked = Ranked(None, *arrays)
    found = jax.jit(of_ranks)(ranked, batch._replace(judgement=judgement))
    return {name: float(value) for name, value in found.items()}


def test_ranks_by_hand():
    out = metrics(
        oracle=[[0, 1, 2], [1, 1, 1], [0, 0, 0]],
        predicted=[[1, 0, 2], [0, 1, 2], [2, 1, 0]],
        advantages=[[0.5, 0.25, -0.75], [0, 0, 0], [9, 9, -99]],
        penalties=[[0.25, -0.25, 0.0], [0.3, 0.3, 0.3], [9, 9, 9]],
        valid=[True, True, False],
        lengths=[[1, 2, 3], [2, 2, 2], [4, 1, 1]],
    )
    assert out == pytest.approx(
        {
            "advantage/abs_mean": (0.5 + 0) / 2,
            "advantage/max": 0.5,
            "advantage/min": -0.75,
            # centred advantages (0.5, 0.25, -0.75) with (1, 0, -1): 1.25 / sqrt(0.875 * 2)
            "advantage/oracle_correlation": 0.944911,
            # (0.5, 0.25, -0.75) with centred lengths (-1, 0, 1): -1.25 / sqrt(0.875 * 2)
            "advantage/length_correlation": -0.944911,
            # gains 1, 0.63093, 0.5, centred 0.28969, -0.07938, -0.21031: -0.5 / sqrt(0.13445 * 2)
            "oracle/length_correlation": -0.964207,
            "penalty/mean": (0 + 0.3) / 2,
            "penalty/max": 0.3,
            "rank/kendall_tau": (1 / 3 + 0) / 2,  # one of three pairs is turned; a tie of all
            # first group, relevance 2, 1, 0: (2 / log2(3) + 1) / (2 + 1 / log2(3)) = 0.859719
            "rank/ndcg": (0.859719 + 1) / 2,
            "rank/tie_fraction": (0 + 1) / 2,
            "group/no_signal_fraction": 0.5,
        },
        abs=1e-5,
    )


def test_without_valid_groups_all_are_zero():
    nothing = [[jnp.nan, jnp.inf]]
    out = metrics([[0, 1]], [[0, 1]], nothing, nothing, [False])
    assert set(out.values()) == {0.0}


def test_correlation_is_within_groups():
    # The offset of a group does not matter: perfectly correlated, then opposed in equal parts.
    first = jnp.array([[0.0, 1.0], [10.0, 11.0]])
    everything = jnp.ones(2, bool)
    assert float(correlation(first, jnp.array([[5.0, 7.0], [1.0, 3.0]]), everything)) == (
        pytest.approx(1.0)
    )
    mixed = jnp.array([[5.0, 7.0], [3.0, 1.0]])
    assert float(correlation(first, mixed, everything)) == pytest.approx(0.0)
    assert float(correlation(first, mixed, jnp.array([False, True]))) == pytest.approx(-1.0)
    assert float(correlation(first, jnp.zeros((2, 2)), everything)) == 0.0


@pytest.mark.parametrize(
    ("form", "mix", "sign"), [("signed", 0.0, 1), ("signed", 1.0, 1), ("printed", 0.25, -1)]
)
def test_the_correlation_tells_which_way_a_form_pushes(form, mix, sign):
    oracle = jnp.array([[0.0, 1, 2, 3, 4]])
    for predicted in (oracle[:, ::-1], jnp.array([[3.0, 4, 2, 1, 0]])):
        advantages = rank_advantages(oracle, predicted, form=form, mix=mix)
        penalties = rank_penalties(oracle, predicted, form=form)
        out = metrics(oracle, predicted, advantages, penalties, [True])
        assert sign * out["advantage/oracle_correlation"] > 0.7


@pytest.mark.parametrize(
    ("by", "low", "high"), [("sum", 0.12, 0.3), ("mean", -0.3, -0.12), ("ratio", -0.05, 0.05)]
)
def test_what_the_predicted_order_pays_under_an_oracle_that_ranks_at_random(by, low, high):
    """docs/method.md, Length: mix 0.25 pays for length by the sum, for shortness by the mean."""
    rng = np.random.default_rng(0)
    shape = (2000, 5, 40)
    lengths = rng.integers(10, 41, shape[:2])
    mask = np.arange(40) < lengths[..., None]
    log_prob = -rng.exponential(0.5, shape) - (np.arange(40) < 5)  # beginnings are less certain
    reference = log_prob + 0.1 * rng.normal(size=shape)
    log_prob, reference, mask = jnp.array(log_prob), jnp.array(reference), jnp.array(mask)
    oracle = ranks(jnp.array(rng.normal(size=shape[:2])))
    predicted = predicted_ranks(log_prob, mask, by, reference)
    valid = [True] * shape[0]
    own = rank_advantages(oracle, predicted, mix=0.25)
    out = metrics(oracle, predicted, own, own, valid, np.array(lengths))
    assert abs(out["oracle/length_correlation"]) < 0.05
    assert low < out["advantage/length_correlation"] < high


def test_sampler_gap_by_hand():
    rollout = jnp.array([[[-1.0, -2.0, 0.0]]])
    scored = jnp.array([[[-1.5, -1.75, -1e9]]])
    mask = jnp.array([[[True, True, False]]])
    responses = Responses(jnp.zeros((1, 1, 3), int), mask, rollout)
    out = of_sampler(responses, scored)
    assert float(out["sampler/logprob_gap_mean"]) == pytest.approx(0.375)
    assert float(out["sampler/logprob_gap_max"]) == pytest.approx(0.5)
    nothing = of_sampler(responses._replace(mask=jnp.zeros_like(mask)), scored)
    assert {float(value) for value in nothing.values()} == {0.0}
