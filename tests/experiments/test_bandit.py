"""The tabular bandit: its start, one step by hand, and which way each form moves the policy."""

import functools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from orl_jax.experiments import bandit
from orl_jax.experiments.bandit import FORMS, READINGS, Problem, problem, train
from orl_jax.ops.ranking import ranks

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "bandit.py"
OWN_ORDER = "no Oracle: the policy's own order"
FORMS_RUN = ["printed", "signed, mix 0.25", "linear in rank", OWN_ORDER]  # each compiles, seconds


@functools.cache
def small_run(form, noise=0.0, seeds=(0, 1)):
    """Two seeds of 60 steps on 64 prompts; one shape, so that a form compiles once."""
    return train(seeds, noise, form=form, steps=60, prompts=64)


def probabilities(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def test_start_knows_a_little():
    starts = [problem(seed, steps=1) for seed in range(8)]
    chances = np.stack([probabilities(start.logits) for start in starts])
    assert (chances * starts[0].quality).sum(-1).mean() == pytest.approx(0.695, abs=0.005)
    assert chances[..., -1].mean() == pytest.approx(0.195, abs=0.005)


def test_qualities_are_spaced_or_half_right():
    distinct, levels = problem(3, steps=1), problem(3, steps=1, two_levels=True)
    np.testing.assert_allclose(distinct.quality[0], np.arange(12) / 11, atol=1e-6)
    assert levels.quality[0].tolist() == [0.0] * 6 + [1.0] * 6
    np.testing.assert_array_equal(distinct.logits, levels.logits)


def test_identical_responses_are_ties_of_the_oracle():
    # Probabilities 1/2, 1/4, 1/4 end at 0.5, 0.75, 1, so the draws give responses 0, 0, 1, 2, 2.
    # Judged: 0 + 0.3, 0.5 + 0, 1 - 0.3; the twice 0.7 share the ranks 0 and 1, the 0.3 share 3, 4.
    logits, quality = np.log([[0.5, 0.25, 0.25]]), np.array([[0.0, 0.5, 1.0]])
    draws = np.array([[0.1, 0.4, 0.6, 0.8, 0.99]]), np.array([[1.0, 0.0, -1.0]])
    actions, oracle_ranks = bandit._rollout(
        lambda scores, _: ranks(scores), quality, 0.3, False, logits, draws
    )
    assert actions.tolist() == [[0, 0, 1, 2, 2]]
    assert oracle_ranks.tolist() == [[3.5, 3.5, 2.0, 0.5, 0.5]]


def test_two_levels_say_right_or_wrong():
    # Judged 0.3, 0.5, 0.7: only the last is above 1/2; so all that are wrong share ranks 2, 3, 4.
    logits, quality = np.log([[0.5, 0.25, 0.25]]), np.array([[0.0, 0.5, 1.0]])
    draws = np.array([[0.1, 0.4, 0.6, 0.8, 0.99]]), np.array([[1.0, 0.0, -1.0]])
    scores = bandit._rollout(lambda scores, _: scores, quality, 0.3, True, logits, draws)[1]
    assert scores.tolist() == [[0, 0, 0, 1, 1]]


def test_one_step_by_hand():
    # Even odds; the draws give 0, 0, 0, 1, 1. Linear: ranks 3 and 0.5 give A = -1 and 1.5, of
    # root-mean-square sqrt((3 + 4.5) / 5) = 1.2247. On the logit of 1, as A adds up to zero:
    # 2 * 1.5 / 5 / 1.2247 = 0.4899; of 0: -0.4899. P(1) = 1 / (1 + exp(-2 * 0.4899)) = 0.7271.
    one = Problem(
        quality=np.array([[[0.0, 1.0]]], np.float32),
        logits=np.zeros((1, 1, 2), np.float32),
        uniform=np.array([[[[0.1, 0.2, 0.3, 0.8, 0.9]]]], np.float32),
        normal=np.zeros((1, 1, 1, 2), np.float32),
    )
    history = bandit._climb_all(one, 0.0, False, 1.0, form="linear in rank")
    np.testing.assert_allclose(history.quality, [[0.5, 0.7271]], atol=5e-5)
    np.testing.assert_allclose(history.best, history.quality, atol=1e-6)
    entropy = -0.7271 * np.log(0.7271) - 0.2729 * np.log(0.2729)
    np.testing.assert_allclose(history.entropy, [[np.log(2), entropy]], atol=1e-4)


def test_printed_lowers_the_quality():
    history = small_run("printed")
    assert np.all(history.quality[:, -1] < history.quality[:, 0] - 0.05)
    assert np.all(history.best[:, -1] < 0.1)


@pytest.mark.parametrize("form", ["signed, mix 0.25", "linear in rank"])
def test_signed_and_linear_raise_the_quality(form):
    history = small_run(form)
    assert np.all(history.quality[:, -1] > history.quality[:, 0] + 0.2)
    assert np.all(history.best[:, -1] > 0.7)


def test_printed_gains_by_oracle_noise_and_stays_below_the_policy_alone():
    clear, noisy = small_run("printed"), small_run("printed", 1.0)
    alone = small_run(OWN_ORDER)
    assert clear.quality[:, -1].mean() < noisy.quality[:, -1].mean() < alone.quality[:, -1].mean()


def test_own_order_does_not_hear_the_oracle():
    np.testing.assert_array_equal(
        small_run(OWN_ORDER).quality, small_run(OWN_ORDER, noise=1.0).quality
    )


@pytest.mark.parametrize("form", FORMS_RUN)
def test_advantages_add_up_to_zero(form):
    assert np.max(small_run(form, 1.0).zero_sum) < 5e-6


def test_a_seed_fixes_the_run():
    both, swapped = small_run("printed"), small_run("printed", seeds=(1, 0))
    np.testing.assert_array_equal(both.quality, swapped.quality[::-1])
    assert not np.allclose(both.quality[0], both.quality[1])


def test_negated_and_exchanged_readings_have_the_oracles_sign():
    scores, log_probs = np.array([[3.0, 2.0, 1.0]]), np.array([[-3.0, -2.0, -1.0]])
    # The policy has the order reversed. D = 1, 0.79248, 2/3: D(p) / D(r) = 2/3, 1, 3/2; mean 19/18.
    expected = np.array([[-7 / 18, -1 / 18, 8 / 18]])
    np.testing.assert_allclose(FORMS["printed"](scores, log_probs), expected, atol=1e-5)
    np.testing.assert_allclose(
        READINGS["printed, negated"](scores, log_probs), -expected, atol=1e-5
    )
    exchanged = READINGS["printed, ranks exchanged"](scores, log_probs)
    np.testing.assert_allclose(exchanged, expected[:, ::-1], atol=1e-5)


def test_exchanged_reading_has_no_signal_where_the_oracle_ties_all():
    assert not np.any(READINGS["printed, ranks exchanged"](np.ones((1, 3)), np.arange(3.0)[None]))


def test_unknown_form_is_an_error():
    with pytest.raises(KeyError, match="plain"):
        train([0], 0.0, form="plain", steps=1, prompts=2)


def run_script(*flags):
    command = [sys.executable, SCRIPT, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--seeds=0", "--workdir=x"], "error: --seeds=0; it must be at least 1\n"),
        ([], "error: --workdir is missing; for example --workdir=runs/bandit\n"),
    ],
)
def test_bad_flags_end_with_status_2_and_one_line(flags, message):
    done = run_script(*flags)
    assert (done.returncode, done.stderr, done.stdout) == (2, message, "")


@pytest.mark.slow
def test_script_writes_tables_json_and_picture(tmp_path):
    done = run_script("--seeds=2", "--steps=3", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n| signed, mix 0.25 ") == 2
    runs = json.loads((tmp_path / "bandit.json").read_text())["runs"]
    assert len(runs) == 2 * 3 * len(FORMS | READINGS)
    assert all(len(run["quality"]["curve"]) == 4 for run in runs)
    assert (tmp_path / "bandit.png").stat().st_size > 10_000
