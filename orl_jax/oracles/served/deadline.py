"""When a call must be over, whatever the server does, and that a signal ends it sooner."""

import contextvars
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Self

from orl_jax.run import stop

SLICE = 0.2  # seconds between two looks at the clock and for a signal
GRACE = 5.0  # seconds after a signal in which a reply that is on its way may still come
_current: contextvars.ContextVar["Deadline"] = contextvars.ContextVar("deadline")


class DeadlinePassed(Exception):
    """The time is over."""


class Stopped(Exception):
    """A signal has asked the process to stop, or who waited for the answer does so no longer."""


class Deadline:
    """A moment some seconds from now; with `with`, an exception that leaves it cancels it.

    Args:
      seconds: from now.
      whole: of what this is a part: it is over no later, and cancelled with it.

    Example: `Deadline(60.0).left() <= 60.0`.
    """

    def __init__(self, seconds: float, whole: "Deadline | None" = None) -> None:
        end = time.monotonic() + seconds
        self._end = min(end, whole._end) if whole else end
        self._cancelled: threading.Event = whole._cancelled if whole else threading.Event()

    def left(self) -> float:
        """Seconds, more than 0; after a signal, what is left of the grace.

        Raises:
          DeadlinePassed, Stopped.
        """
        since = stop.seconds_since()
        grace = math.inf if since is None else GRACE - since
        if grace <= 0 or self._cancelled.is_set():
            raise Stopped("stopped: before the reply")
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlinePassed("deadline passed")
        return min(left, grace)

    def begin(self) -> None:
        """To be called before anything new is sent: there is no grace for it.

        Raises: see `left`.
        """
        if stop.requested():
            raise Stopped("stopped: before it was asked")
        self.left()

    def sleep(self, seconds: float) -> None:
        """Waits before something new is sent, but no longer than `left` allows.

        Raises: see `left`.
        """
        end = time.monotonic() + min(seconds, self.left())
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE))
            self.begin()

    def wait_for(self, work: Callable[[], Any]) -> Any:
        """What `work` returns or raises; if it takes too long it is left alone, in its thread.

        For what cannot be interrupted, such as the look-up of a name.

        Raises: see `left`.
        """
        done, box = threading.Event(), []

        def run() -> None:
            try:
                box.append((work(), None))
            except Exception as error:
                box.append((None, error))
            done.set()

        threading.Thread(target=run, daemon=True).start()
        while not done.wait(min(SLICE, self.left())):
            pass
        result, error = box[0]
        if error is not None:
            raise error
        return result

    def cancel(self) -> None:
        """Ends what waits for it, and for its parts."""
        self._cancelled.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is not None:
            self.cancel()


def current() -> Deadline:
    """The deadline of the call that this thread makes; see `holding`."""
    return _current.get()


class holding:  # noqa: N801 - reads as a word of `with`
    """Makes a deadline the current one of this thread.

    Example: `with holding(Deadline(5.0)): current().left()`.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __enter__(self) -> Deadline:
        self._token = _current.set(self._deadline)
        return self._deadline

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
