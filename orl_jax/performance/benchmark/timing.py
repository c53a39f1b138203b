"""Repeated timings of a call."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of calls of one kind.

    Attributes:
      samples: in the order of the calls.
    """

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value that tables show."""
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        """The shortest time, used for peak rates."""
        return min(self.samples)

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON.

        Example: `Timing((2.0, 1.0, 4.0)).to_dict()["median"] == 2.0`.
        """
        return {
            "median": self.median,
            "low": self.best,
            "high": max(self.samples),
            "samples": list(self.samples),
        }


def timed(call: Callable[[], Any], repeats: int) -> Timing:
    """Calls once to warm up, then `repeats` times; waits for each result.

    Each result is released before the next call, so that two are never alive at once.

    Args:
      call: without arguments.
      repeats: at least 1.

    Example: `timed(lambda: x @ x, 5).median`.
    """
    seconds(call)
    return Timing(tuple(seconds(call) for _ in range(repeats)))


def alternated(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Timing]:
    """Like `timed`, with the calls alternating, so that a slow machine affects all of them.

    Example: `alternated({"a": a, "b": b}, 5)["a"].median`.
    """
    for call in calls.values():
        seconds(call)
    rounds = [{name: seconds(call) for name, call in calls.items()} for _ in range(repeats)]
    return {name: Timing(tuple(found[name] for found in rounds)) for name in calls}


def ratios(over: Timing, under: Timing) -> Timing:
    """The ratio of each pair of samples, unaffected by what slows down both.

    Example: `ratios(Timing((2.0,)), Timing((1.0,))).median == 2.0`.
    """
    pairs: Iterable[tuple[float, float]] = zip(over.samples, under.samples, strict=True)
    return Timing(tuple(a / b for a, b in pairs))


def seconds(call: Callable[[], Any]) -> float:
    """Seconds of one call, until its results are ready."""
    begin = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begin
