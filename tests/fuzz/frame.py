"""What the parts of the fuzz campaign share: one bounded call, its outcome, mutations of bytes."""

import contextlib
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from orl_jax.run.errors import Failure, UserError

LONGEST = 2500  # characters of a message


class TookTooLong(BaseException):
    """Raised by the alarm; no handler of ordinary errors catches it."""


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Ends what runs inside after `seconds`, wherever Python code runs; measures code in C after.

    Raises:
      TookTooLong: it took longer.
    """

    def alarm(*_: object) -> None:
        raise TookTooLong

    before, start = signal.signal(signal.SIGALRM, alarm), time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
        if time.monotonic() - start > seconds:
            raise TookTooLong
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(call: Callable[[], Any], seconds: float, refusals: tuple[type, ...] = ()) -> str:
    """How a call ends: "used", "refused", or a fault: "hang", "traceback", "not one line", "wrong".

    Args:
      call: returns when what it read is used; AssertionError means that it must not be.
      seconds: that it may take.
      refusals: exceptions that are a refusal, in addition to UserError.
    """
    try:
        with bounded(seconds):
            call()
    except TookTooLong:
        return "hang"
    except AssertionError as error:
        print(f"wrong: {error}", file=sys.stderr)
        return "wrong"
    except (UserError, Failure, *refusals) as error:
        text = str(error)
        if text and len(text) < LONGEST and "\n" not in text:
            return "refused"
        print(f"not one line: {text:.300}", file=sys.stderr)
        return "not one line"
    except BaseException:
        traceback.print_exc()
        return "traceback"
    return "used"


def is_good(found: Counter[str]) -> bool:
    """Whether a campaign found nothing wrong."""
    return set(found) <= {"used", "refused"}


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut out, doubled, zeroed, swapped or put in; or the end is missing."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        start = rng.randrange(len(data))
        stop = min(len(data), start + rng.choice((1, 2, 4, 16, 200)))
        part = bytes(data[start:stop])
        kind = rng.randrange(7)
        if kind == 0:
            data[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[start:stop]
        elif kind == 2:
            data[start:start] = part * rng.choice((1, 3))
        elif kind == 3:
            data[start:stop] = bytes(stop - start)
        elif kind == 4:
            data[start:stop] = b"\xff" * (stop - start)
        elif kind == 5:
            data[start:stop] = rng.randbytes(stop - start)
        else:
            del data[rng.randrange(len(data)) :]
    return bytes(data)
