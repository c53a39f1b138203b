"""Agreement: golden numbers worked out by hand."""

import math

import numpy as np
import pytest

from orl_jax.oracles.audit import agreement


@pytest.mark.parametrize(
    ("truth", "said", "value"),
    [
        ((0, 1, 2), (0, 1, 2), 1.0),
        ((0, 1, 2), (2, 1, 0), -1.0),
        ((0, 1, 2, 3), (0, 1, 3, 2), 4 / 6),  # five pairs right, one wrong, of six
        ((0, 1, 2), (0, 1.5, 1.5), 2 / math.sqrt(3 * 2)),  # a tie on one side lowers it
        ((0.5, 0.5, 2), (0, 1.5, 1.5), 1 / 2),  # one pair untied in both, two in each
        ((1, 1, 1), (0, 1, 2), math.nan),
        ((0, 1, 2), (1, 1, 1), math.nan),
    ],
)
def test_tau(truth, said, value):
    assert agreement.tau(truth, said) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("truth", "said", "value"),
    [
        ((0, 1, 2), (0, 1.5, 1.5), 2.5 / 3),
        ((0, 1, 2), (1, 1, 1), 1 / 2),
        ((0.5, 0.5, 2), (2, 1, 0), 0.0),  # the tied pair does not count
        ((0, 1, 2), (1, 0, 2), 2 / 3),
        ((1, 1, 1), (0, 1, 2), math.nan),
    ],
)
def test_pair_accuracy(truth, said, value):
    assert agreement.pair_accuracy(truth, said) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("truth", "said", "value"),
    [
        ((0, 1, 2), (0, 1, 2), 1.0),
        ((0, 1, 2), (0.5, 0.5, 2), 1 / 2),
        ((0.5, 0.5, 2), (0, 1, 2), 1.0),  # one of the truth's best is enough
        ((0, 1, 2), (1, 1, 1), 1 / 3),  # tying all is no better than chance
        ((0, 1, 2), (1, 0, 2), 0.0),
    ],
)
def test_top1(truth, said, value):
    assert agreement.top1(truth, said) == pytest.approx(value)


def test_signs_of_pairs():
    assert agreement.pair_signs((0, 1.5, 1.5)).tolist() == [1, 1, 0]
    assert agreement.pair_signs((2, 0, 1)).tolist() == [-1, -1, 1]


def test_chance_is_the_share_of_best_answers():
    assert agreement.chance((0.5, 0.5, 2, 3)) == 1 / 2


def test_agreement_with_itself():
    orders = [np.array(order, float) for order in ((0, 1, 2), (0, 1, 2), (2, 1, 0))]
    assert agreement.self_tau(orders) == pytest.approx((1 - 1 - 1) / 3)
    assert agreement.self_top1(orders) == pytest.approx(1 / 3)
    assert math.isnan(agreement.self_tau(orders[:1]))


def test_tying_all_agrees_with_itself_and_with_no_order():
    flat, order = np.ones(3), np.arange(3.0)
    assert agreement.self_tau([flat, flat]) == 1
    assert agreement.self_tau([flat, order]) == 0
