"""Parts of a file that a browser requests, to seek in a video (RFC 9110, section 14)."""

import re
from typing import NamedTuple


class Part(NamedTuple):
    """Bytes of a file, from `start` up to but not including `stop`."""

    start: int
    stop: int


def parse_range(header: str | None, size: int) -> Part | None:
    """The part of a file of `size` bytes that a Range header requests; None is the whole file.

    Anything but a single range of bytes is ignored, as the standard allows.

    Raises:
      ValueError: the range begins after the end of the file (status 416).

    Example: `parse_range("bytes=-10", 100)` is (90, 100).
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size:
        raise ValueError(f"bytes {header} of a file of {size}")
    return Part(start, stop)
