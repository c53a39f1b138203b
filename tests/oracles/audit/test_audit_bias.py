"""Bias by slot and by length: golden numbers worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from audit_cases import case, reply

from orl_jax.oracles.audit.bias import by_length, length_bias, position_bias
from orl_jax.oracles.audit.scores import scores

ORDERS = list(itertools.permutations(range(3)))


def test_a_judge_of_places_has_the_effect_one():
    found = position_bias([[reply(slots, (0, 1, 2)) for slots in ORDERS]] * 4, 200)
    assert found["effect"] == pytest.approx(1)
    assert [m["mean"] for m in found["mean_ranks"]] == pytest.approx([0, 1, 2])
    assert found["best_shares"] == [1, 0, 0]
    assert found["p"] < 1e-6 and found["n"] == 24


def test_two_asks_by_hand():
    # Answers 0, 1, 2 are ranked 0, 1, 2 and then 2, 0, 1. Against the other ask: -2, 1, 1 in the
    # first, in slot order; -1, -1, 2 in the second. Of six orders one is used up: 5/6 of it.
    found = position_bias([[reply((0, 1, 2), (0, 1, 2)), reply((1, 2, 0), (0, 1, 2))]], 200)
    means = [m["mean"] for m in found["mean_ranks"]]
    assert means == pytest.approx([1 - 1.5 * 5 / 6, 1, 1 + 1.5 * 5 / 6])


def test_who_reads_answers_has_none_however_few_the_asks():
    groups = [[reply(slots, slots) for slots in ORDERS[:2]]]  # answer 0 is best wherever it stands
    assert position_bias(groups, 200)["effect"] == 0


def test_the_last_of_two_is_preferred():
    groups = [[reply((0, 1), (1, 0)), reply((1, 0), (1, 0))]] * 10
    found = position_bias(groups, 200)
    assert found["effect"] == pytest.approx(1)
    assert found["p"] == pytest.approx(2 / 2**20)  # twenty of twenty, on either side


def test_one_ask_is_compared_with_the_middle():
    groups = [[reply((0, 1, 2), (0, 1, 2))], [reply((2, 1, 0), (0, 1, 2))]]
    assert position_bias(groups, 200)["effect"] == 1


def test_asks_without_an_order_do_not_count():
    assert position_bias([[reply((0, 1, 2), (1, 1, 1)), reply((0, 1, 2), ())], []], 200) is None
    mixed = [[reply((0, 1, 2), (0, 1, 2))], [reply((0, 1, 2), ())], [reply((0, 1), (0, 1))]]
    assert position_bias([*mixed, mixed[0]], 200)["n"] == 2  # of the most frequent size


def test_length_bias_is_rho_with_goodness():
    assert length_bias((0, 1, 2), (30, 20, 10)) == pytest.approx(1)
    assert length_bias((0, 1, 2), (10, 20, 30)) == pytest.approx(-1)
    # Goodness 2, 1, 0 against places 3, 1, 2: rho = 1 - 6 * (0 + 1 + 1) / (3 * 8)
    assert length_bias((0, 1, 2), (30, 10, 20)) == pytest.approx(0.5)
    assert math.isnan(length_bias((0, 1, 2), (5, 5, 5)))
    assert math.isnan(length_bias((1, 1, 1), (1, 2, 3)))


def test_a_world_in_which_longer_is_better_is_not_blamed():
    answers = ("a b c", "a b", "a")
    found = scores(case(answers, (0, 1, 2)), [reply((0, 1, 2), (0, 1, 2))])
    assert found["length_own"] == found["length_truth"] == pytest.approx(1)
    assert found["length_bias"] == pytest.approx(0)
    against = scores(case(answers, (2, 1, 0)), [reply((0, 1, 2), (0, 1, 2))])
    assert against["length_bias"] == pytest.approx(2)


def test_ranks_by_length_share_their_mean():
    found = by_length([((0, 1, 2), (9, 3, 3)), ((0, 1, 2), (5, 3, 1))])
    assert found == {"length": [2, 3, 7], "rank": [1.75, 1.25, 0]}
    assert by_length([]) == {"length": [], "rank": []}


def test_orders_are_undone():
    assert np.array_equal(reply((2, 0, 1), (0, 1, 2)).ranks, [1, 2, 0])
