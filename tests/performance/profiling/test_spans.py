"""Unions, gaps and own times of a handful of spans, by hand."""

from orl_jax.performance.profiling.spans import Span, busy, gaps, merged, own_lengths

WORK = [Span("b", 1, 3), Span("a", 0, 2), Span("c", 5, 6), Span("d", 5, 5.5)]


def test_merged():
    assert merged(WORK) == [(0, 3), (5, 6)]


def test_busy_counts_only_the_given_interval():
    assert busy([(0, 3), (5, 6)], 2, 7) == 2
    assert busy([(0, 3)], 4, 5) == 0


def test_gaps():
    assert gaps([(0, 3), (5, 6)], 2, 7) == [(3, 5), (6, 7)]
    assert gaps([(0, 3), (5, 6)], 3.5, 4.5) == [(3.5, 4.5)]
    assert gaps([(0, 3)], 1, 2) == []
    assert gaps([], 1, 2) == [(1, 2)]


def test_own_time_excludes_nested_spans():
    loop, body, nested, other = (
        Span("loop", 0, 10),
        Span("body", 1, 4),
        Span("nested", 2, 3),
        Span("other", 4, 8),
    )
    assert own_lengths([loop, body, nested, other]) == [3, 2, 1, 4]
    assert own_lengths([nested, other, loop, body]) == [1, 4, 3, 2]
    assert own_lengths([]) == []
