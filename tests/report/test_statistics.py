"""Intervals and tests against published examples, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orl_jax.report.statistics import compare, interval, mcnemar, newcombe, wilson


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, table I (method 3): 81 of 263, and the extreme 0 of 20.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0 / 20, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_in_range(case) -> None:
    right, n = case
    low, high = wilson(right / n, n)
    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1


def test_more_items_make_it_narrower_and_none_say_nothing() -> None:
    widths = [high - low for low, high in (wilson(0.6, n) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)
    assert wilson(0.5, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("table", "published"),
    [
        ((36, 12, 2, 0), (0.0569, 0.3404)),  # Newcombe 1998 (paired data), method 10
        ((1, 1, 7, 12), (-0.507, -0.026)),  # Fagerland, Lydersen and Laake 2014
        ((14, 5, 0, 22), (0.011, 0.226)),  # Altman and others 2000, table 6.2
    ],
)
def test_newcombe_against_published_values(table, published) -> None:
    digits = 5e-5 if len(str(published[0])) > 6 else 6e-4
    assert newcombe(*table) == pytest.approx(published, abs=digits)


def test_newcombe_by_hand_where_no_item_changed() -> None:
    # 2 of 4 right in both: Wilson 0.15004 to 0.84996, so both distances are 0.34996; the corrected
    # phi is (4 - 2) / 4, and the half width 0.34996 sqrt(1 - 2 / 2 + 1).
    assert newcombe(2, 0, 0, 2) == pytest.approx((-0.34996, 0.34996), abs=1e-5)
    # All right: phi is 0, and only the Wilson limit 0.51010 of 4 in 4 is away from its share.
    assert newcombe(4, 0, 0, 0) == pytest.approx((-0.48990, 0.48990), abs=1e-5)
    assert newcombe(0, 0, 0, 0) == (-1.0, 1.0)


_COUNTS = st.integers(0, 60)


@given(_COUNTS, _COUNTS, _COUNTS, _COUNTS)
def test_newcombe_holds_the_difference_has_a_width_and_can_be_swapped(a, b, c, d) -> None:
    low, high = newcombe(a, b, c, d)
    n = max(a + b + c + d, 1)
    assert -1 - 1e-9 <= low <= (b - c) / n + 1e-9 and (b - c) / n - 1e-9 <= high <= 1 + 1e-9
    assert high - low > 1e-3
    assert newcombe(a, c, b, d) == pytest.approx((-high, -low))


def test_the_bootstrap_is_scipys() -> None:
    values = [0.61, 0.64, 0.7, 0.58, 0.66]
    ours = interval(values, resamples=10_000)
    theirs = stats.bootstrap(
        (np.array(values),), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert ours["mean"] == pytest.approx(np.mean(values)) and ours["n"] == 5
    assert ours["low"] == pytest.approx(theirs.low, abs=3e-3)
    assert ours["high"] == pytest.approx(theirs.high, abs=3e-3)
    # Means of two drawn from 0.2 and 0.8 are 0.2, 0.5, 0.8 with chances 1/4, 1/2, 1/4.
    assert interval([0.2, 0.8]) == {"mean": 0.5, "low": 0.2, "high": 0.8, "n": 2}


def test_what_is_not_defined_is_left_out() -> None:
    found = interval([0.0, 0.5, math.nan] * 50, (0, 1), resamples=500)
    assert found["mean"] == 0.25 and found["n"] == 100
    assert 0.19 < found["low"] < 0.21 and 0.29 < found["high"] < 0.31  # 0.25 +- 1.96 * 0.025
    assert interval([math.nan]) == {"mean": None, "low": None, "high": None, "n": 0}


def test_a_share_has_wilsons_interval() -> None:
    found = interval([1.0] * 50 + [0.0] * 50 + [math.nan], (0, 1))
    assert (found["low"], found["high"]) == pytest.approx((0.404, 0.596), abs=5e-4)
    found = interval([1.0] * 20, (0, 1))
    assert (found["low"], found["high"]) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)


def test_the_same_value_everywhere_still_has_an_interval_within_limits() -> None:
    # As many as 0.1611 of 20 values may be others (Wilson, 0 of 20), at -1 or at 1.
    found = interval([1.0] * 19 + [1 - 1e-16], (-1, 1))
    assert (found["low"], found["high"]) == pytest.approx((1 - 2 * 0.1611, 1.0), abs=1e-4)
    found = interval([3.0] * 20, (0, 5))
    assert (found["low"], found["high"]) == pytest.approx(
        (3 - 3 * 0.1611, 3 + 2 * 0.1611), abs=2e-4
    )
    assert interval([0.5], (0, 1))["low"] < 0.2


@pytest.mark.parametrize("values", [[0.7], [0.0, 0.0, 0.0]])
def test_without_limits_one_value_has_no_interval(values) -> None:
    mean = {"mean": values[0], "n": len(values)}
    assert interval(values) == {**mean, "low": None, "high": None}


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
    # 100 items: 30 right only in the first, 10 only in the second. The difference has the mean
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


def test_equal_answers_and_equal_scores_have_a_width() -> None:
    found = compare([1.0] * 10 + [0.0] * 10, [1.0] * 10 + [0.0] * 10)["difference"]
    assert found["mean"] == 0 and found["low"] == -found["high"] < -0.02
    found = compare([3.0, 4.0] * 10, [3.0, 4.0] * 10, (0, 5))["difference"]
    assert (found["low"], found["high"]) == pytest.approx((-5 * 0.1611, 5 * 0.1611), abs=5e-4)
