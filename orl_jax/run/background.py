"""Calls that run in a thread of their own, so that a stop need not wait for their end."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Generic, Self, TypeVar

from orl_jax.run import stop
from orl_jax.run.stop import StopRequested

GRACE_SECONDS = 10.0  # what a call gets to finish once a stop is requested
_POLL_SECONDS = 0.1
_left_to_itself: "list[Future[Any]]" = []
T = TypeVar("T")


def any_left() -> bool:
    """Whether a call that was left to itself is still running."""
    return not all(future.done() for future in _left_to_itself)


class Pending(Generic[T]):
    """The result of a call that is on its way.

    Example: `Background("oracle").start(oracle.rank, requests).result()`.
    """

    def __init__(self, future: "Future[T]") -> None:
        self._future = future

    def result(self, grace: float | None = None) -> T:
        """Waits for the result.

        Args:
          grace: seconds that the call gets to finish once a stop is requested; by default
            `GRACE_SECONDS`.

        Raises:
          StopRequested: a stop was requested, and that much later there was no result; the call is
            left to itself.
          BaseException: whatever the call raised.
        """
        grace = GRACE_SECONDS if grace is None else grace
        deadline = None
        while True:
            try:
                return self._future.result(_POLL_SECONDS)
            except NotYet:
                if self._future.done():  # the call itself raised it
                    return self._future.result()
            if (signum := stop.requested()) is None:
                continue
            deadline = deadline or time.monotonic() + grace
            if time.monotonic() >= deadline:
                _left_to_itself.append(self._future)
                raise StopRequested(signum)


class Background:
    """One thread that runs calls in the order in which they are started.

    The process may end while a call is running: it is then cut off.

    Args:
      name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future, Callable, tuple] | None] = queue.SimpleQueue()
        self._waiting: list[Future] = []
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def start(self, call: Callable[..., T], *arguments: Any) -> Pending[T]:
        """Has the thread call `call(*arguments)` after what was started before."""
        future: Future[T] = Future()
        self._waiting = [each for each in self._waiting if not each.done()] + [future]
        self._calls.put((future, call, arguments))
        return Pending(future)

    def close(self) -> None:
        """Drops the calls that have not begun; one that is running finishes by itself."""
        for future in self._waiting:
            future.cancel()
        self._calls.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while (task := self._calls.get()) is not None:
            future, call, arguments = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call(*arguments))
            except BaseException as error:  # handed to whoever waits
                future.set_exception(error)
