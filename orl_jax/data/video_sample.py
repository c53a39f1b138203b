"""Whether the videos of a data set are still those that a run began with, as far as a sample tells.

Hashing every video of a large set takes hours; sizes and times do not survive a copy. So a few
videos are looked at, and of each its size, its beginning and its end: a set that was encoded,
cropped or shortened anew differs in them. One changed file among thousands is not found.
"""

import hashlib
import os
import pathlib

from orl_jax.data.source import Items

VIDEOS = 64
_PART = 2**16  # bytes of the beginning, and of the end


def digests(items: Items, folder: str | os.PathLike[str]) -> dict[str, str]:
    """The digests of some videos by their names in the items; unreadable ones are left out.

    Args:
      items: with "video"; the sample is spread over them evenly.
      folder: what the names are relative to.

    Example: `digests(open_split("data/shapes", "train"), "data/shapes")` has 64 entries such as
    `{"videos/train/0.mp4": "91c4…"}`, of 16 hexadecimal digits each.
    """
    step = max(len(items) // VIDEOS, 1)
    names = dict.fromkeys(items[index]["video"] for index in range(0, len(items), step))
    found = {name: _digest(pathlib.Path(folder, name)) for name in list(names)[:VIDEOS]}
    return {name: digest for name, digest in found.items() if digest}


def _digest(path: pathlib.Path) -> str:
    """Of size, beginning and end; "" if it cannot be read."""
    try:
        if not path.is_file():  # a FIFO would be waited for
            return ""
        with path.open("rb") as file:
            content = file.read(_PART)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _PART, 0))
            content += file.read(_PART)
    except (OSError, ValueError):
        return ""
    return hashlib.sha256(b"%d " % size + content).hexdigest()[:16]
