"""Intervals of time and sums over them. Pure; all numbers are nanoseconds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Stretch = tuple[float, float]


class Span(NamedTuple):
    """A named interval from `start` to `end`."""

    name: str
    start: float
    end: float

    @property
    def length(self) -> float:
        """Its duration."""
        return self.end - self.start

    def holds(self, other: "Span") -> bool:
        """Whether it contains the middle of the other span."""
        return self.start <= (other.start + other.end) / 2 < self.end

    def covers(self, other: "Span") -> bool:
        """Whether it contains all of the other span."""
        return self.start <= other.start and other.end <= self.end


def merged(spans: Iterable[Span]) -> list[Stretch]:
    """The union of spans, as disjoint intervals in order.

    Example: 0 to 2, 1 to 3 and 5 to 6 give `[(0, 3), (5, 6)]`.
    """
    stretches: list[Stretch] = []
    for _, start, end in sorted(spans, key=lambda span: span.start):
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
        else:
            stretches.append((start, end))
    return stretches


def busy(stretches: Sequence[Stretch], start: float, end: float) -> float:
    """How much of the interval from start to end is covered by the intervals of `merged`.

    Example: `busy([(0, 3), (5, 6)], 2, 7) == 2`.
    """
    return sum(max(min(end, last) - max(start, first), 0) for first, last in stretches)


def gaps(stretches: Sequence[Stretch], start: float, end: float) -> list[Stretch]:
    """The parts of the interval from start to end that `merged` does not cover, in order.

    Example: `gaps([(0, 3), (5, 6)], 2, 7) == [(3, 5), (6, 7)]`.
    """
    left, place = [], start
    for first, last in stretches:
        if place < min(first, end):
            left.append((place, min(first, end)))
        place = max(place, last)
    return [*left, (place, end)] if place < end else left


def own_lengths(spans: Sequence[Span]) -> list[float]:
    """Each span's own time, without the spans inside it, in the order given; for one thread.

    Example: a loop from 0 to 10 with iterations from 1 to 4 and from 4 to 8 gives `[3, 3, 4]`.
    """
    own = [span.length for span in spans]
    around: list[int] = []
    for index in sorted(range(len(spans)), key=lambda i: (spans[i].start, -spans[i].end)):
        while around and spans[around[-1]].end <= spans[index].start:
            around.pop()
        if around:
            own[around[-1]] -= spans[index].length
        around.append(index)
    return [max(length, 0.0) for length in own]
