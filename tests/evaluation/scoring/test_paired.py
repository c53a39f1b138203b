"""Paired comparison, by hand."""

import math

import pytest

from orl_jax.evaluation.scoring.paired import compare, mcnemar, shared
from orl_jax.run.errors import UserError


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (3, 0, 0.25),  # 2 / 2^3
        (0, 5, 0.0625),  # 2 / 2^5
        (8, 2, 0.109375),  # 2 (1 + 10 + 45) / 2^10
        (4, 4, 1.0), (0, 0, 1.0),
    ],
)  # fmt: skip
def test_the_exact_test(only_first, only_second, p):
    first = [1] * only_first + [0] * only_second + [1, 0]
    second = [0] * only_first + [1] * only_second + [1, 0]
    found = mcnemar(first, second)
    assert found["p"] == pytest.approx(p, abs=1e-12)
    assert (found["only_first"], found["only_second"]) == (only_first, only_second)


def test_a_difference_with_its_interval():
    # 100 items: 30 right in the first alone, 10 in the second alone. The difference has the mean
    # 0.2 and the standard error sqrt((0.4 - 0.04) / 100) = 0.06.
    first = [1.0] * 30 + [0.0] * 10 + [1.0] * 60
    second = [0.0] * 30 + [1.0] * 10 + [1.0] * 60
    found = compare(first, second)
    assert found["difference"]["mean"] == pytest.approx(0.2) and found["difference"]["n"] == 100
    assert found["difference"]["low"] == pytest.approx(0.2 - 1.96 * 0.06, abs=0.025)
    assert found["difference"]["high"] == pytest.approx(0.2 + 1.96 * 0.06, abs=0.025)
    assert found["mcnemar"]["p"] == pytest.approx(0.00222, abs=1e-5)


def test_numbers_that_are_missing_are_left_out_of_both():
    found = compare([1.0, math.nan, 1.0, 0.0], [0.0, 1.0, math.nan, 0.0])
    assert found["difference"]["n"] == 2 and found["difference"]["mean"] == 0.5
    assert found["mcnemar"] == {"only_first": 1, "only_second": 0, "p": 1.0}


def test_scores_have_no_test_of_right_and_wrong():
    assert compare([4.0, 2.0], [3.0, 3.0])["mcnemar"] is None


def test_items_are_found_by_their_ids():
    first = [{"item_id": "a", "question": "?"}, {"item_id": "b", "question": "!"}]
    second = [{"item_id": "b", "question": "!"}, {"item_id": "c"}, {"item_id": "a"}]
    assert shared(first[1:], second) == [(0, 0)]
    with pytest.raises(UserError, match="item 'a' has another question in --against: None"):
        shared(first, second)
    with pytest.raises(UserError, match="shares no item_id .*here 'b', there 'c'"):
        shared(first[1:], second[1:])
