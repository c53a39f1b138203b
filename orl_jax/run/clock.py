"""Seconds of the parts of a step, and their names in a profiler's trace."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax

STAGE = "stage"  # the kind of the spans, by which a trace's reader knows them


class Clock:
    """Adds up seconds by name, under the names of the metrics; each is also a `span`.

    Example: `with clock("rollout"): ...`, then `clock.seconds()["time/rollout"]`.
    """

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        with span(name):
            yield
        key = f"time/{name}"
        self._spent[key] = self._spent.get(key, 0.0) + time.perf_counter() - begin

    def seconds(self) -> dict[str, float]:
        """All of them so far."""
        return dict(self._spent)


def span(name: str) -> jax.profiler.TraceAnnotation:
    """A named stage in a profiler's trace; costs microseconds when there is none.

    Example: `with span("encode"): media = encode(frames)`.
    """
    return jax.profiler.TraceAnnotation(name, kind=STAGE)
