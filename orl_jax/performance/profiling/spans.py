"""Stretches of time and what they add up to. Pure; all numbers are nanoseconds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

Stretch = tuple[float, float]


class Span(NamedTuple):
    """Something with a name that lasted from `start` to `end`."""

    name: str
    start: float
    end: float

    @property
    def length(self) -> float:
        """How long it lasted."""
        return self.end - self.start

    def holds(self, other: "Span") -> bool:
        """Whether the middle of the other one lies in it."""
        return self.start <= (other.start + other.end) / 2 < self.end

    def covers(self, other: "Span") -> bool:
        """Whether all of the other one lies in it."""
        return self.start <= other.start and other.end <= self.end


def merged(spans: Iterable[Span]) -> list[Stretch]:
    """When at least one of them lasts, in order.

    Example: of 0 to 2, 1 to 3 and 5 to 6 it is `[(0, 3), (5, 6)]`.
    """
    stretches: list[Stretch] = []
    for _, start, end in sorted(spans, key=lambda span: span.start):
        if stretches and start <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
        else:
            stretches.append((start, end))
    return stretches


def busy(stretches: Sequence[Stretch], start: float, end: float) -> float:
    """How much of start to end the stretches of `merged` cover.

    Example: `busy([(0, 3), (5, 6)], 2, 7) == 2`.
    """
    return sum(max(min(end, last) - max(start, first), 0) for first, last in stretches)


def gaps(stretches: Sequence[Stretch], start: float, end: float) -> list[Stretch]:
    """What of start to end the stretches of `merged` leave out, in order.

    Example: `gaps([(0, 3), (5, 6)], 2, 7) == [(3, 5), (6, 7)]`.
    """
    left, place = [], start
    for first, last in stretches:
        if place < min(first, end):
            left.append((place, min(first, end)))
        place = max(place, last)
    return [*left, (place, end)] if place < end else left


def own_lengths(spans: Sequence[Span]) -> list[float]:
    """Of each span of one line the time that no span within it takes, in the order given.

    Example: of a loop from 0 to 10 with turns from 1 to 4 and from 4 to 8 it is `[3, 3, 4]`.
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
