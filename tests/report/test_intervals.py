import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_jax.report.intervals import difference, wilson


def test_wilson_against_published_values() -> None:
    # Newcombe 1998, table I (method 3): 81 of 263, and the extreme 0 of 20.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0 / 20, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_difference_against_a_published_value() -> None:
    # Newcombe 1998 (interval estimation for the difference), table II (b), method 10: 9/10 - 3/10.
    assert difference(0.3, 0.9, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)


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
