"""Stopping on SIGTERM and SIGINT without losing work."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NOTICE = b"\nStopping after this step, with a checkpoint (Ctrl-C again: at once).\n"
# The signal and when it came. Not an Event: a handler may interrupt who holds its lock.
_requested: tuple[int, float] | None = None


def requested() -> int | None:
    """The signal that has asked this process to stop, for what waits in any thread.

    Example: `while not requested(): ...`.
    """
    return _requested[0] if _requested else None


def seconds_since() -> float | None:
    """Seconds since that signal; None without one.

    Example: `(seconds_since() or 0.0) < 5.0`.
    """
    return time.monotonic() - _requested[1] if _requested else None


def sleep(seconds: float) -> None:
    """Waits, and wakes within a fifth of a second once the process is asked to stop.

    Example: `sleep(30.0)`.
    """
    end = time.monotonic() + seconds
    while not _requested and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))


def _request(signum: int | None) -> None:
    global _requested
    _requested = None if signum is None else (signum, time.monotonic())


class StopRequested(Exception):
    """Raised by a loop that was asked to stop, once it has saved; scripts exit with 128+signum."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = int(signum)


class StopSignal:
    """Turns the first SIGTERM or SIGINT into a request that a loop reads between two steps.

    A second SIGINT raises `KeyboardInterrupt` at once. Processes forked inside (data workers) keep
    the usual behaviour for SIGTERM, and ignore SIGINT, which Ctrl-C sends to the whole group and
    the parent handles. Off the main thread, where Python cannot install handlers, it does nothing.

    Example:

        with StopSignal() as stop:
            for step in range(start, steps):
                state = train_step(state)
                if stop.requested:
                    checkpoints.save(step + 1, state, extra)
                    raise StopRequested(stop.requested)
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._previous: dict[signal.Signals, object] = {}
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._pid = os.getpid()
            self._previous = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        if self._previous:
            _request(None)
        self._previous = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            _act_as_child(signum)
        elif self.requested is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        elif self.requested is None:
            self.requested = signum
            _request(signum)
            os.write(2, _NOTICE)  # not print: the handler may have interrupted a print


def exit_on_sigterm() -> None:
    """Outside a `StopSignal`, SIGTERM unwinds the script (exit status 143) rather than killing it.

    So `with` blocks and `finally` clauses run. Does nothing off the main thread.
    """
    pid = os.getpid()

    def handle(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != pid:
            _act_as_child(signum)
        else:
            _request(signum)
            raise SystemExit(128 + signum)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handle)


def _act_as_child(signum: int) -> None:
    """In a forked process, which inherits the parent's handlers."""
    if signum == signal.SIGTERM:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
