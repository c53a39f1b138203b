"""Seconds of the parts of a step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up seconds by name, under the names of the metrics.

    Example: `with clock("rollout"): ...`, then `clock.seconds()["time/rollout"]`.
    """

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        key = f"time/{name}"
        self._spent[key] = self._spent.get(key, 0.0) + time.perf_counter() - begin

    def seconds(self) -> dict[str, float]:
        """All of them so far."""
        return dict(self._spent)
