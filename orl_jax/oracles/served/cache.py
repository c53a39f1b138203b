"""Replies on disk, keyed by what was asked: a resumed run asks nothing twice.

SQLite files of `diskcache`: safe for several processes, bounded in size. An Oracle's key is a
hash of the Oracle, the prompt's version, the video's bytes, the question and the *set* of answers;
the value is the ranks of the answers in a fixed order. Invalid rankings are not kept, so they are
asked for again.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import diskcache


class DiskCache:
    """JSON values by their keys.

    Args:
      folder: made where missing; "" keeps nothing.
      size_mb: 10^6 bytes; the least recently used goes first.
    """

    def __init__(self, folder: str, size_mb: float = 500.0) -> None:
        self._store = (
            diskcache.Cache(
                folder, size_limit=int(size_mb * 1e6), eviction_policy="least-recently-used"
            )
            if folder
            else None
        )

    def get(self, key: str) -> Any:
        """The value of a key, or None."""
        return None if self._store is None else self._store.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keeps a value."""
        if self._store is not None:
            self._store[key] = value

    def close(self) -> None:
        """Closes the files."""
        if self._store is not None:
            self._store.close()


class RankCache(DiskCache):
    """Ranks of sets of answers."""

    def put(self, key: str, value: Sequence[float]) -> None:
        """Keeps ranks."""
        super().put(key, [float(rank) for rank in value])


def make_key(*parts: Any) -> str:
    """A hash of JSON values.

    Example: `make_key("judge", ["yes", "no"]) == make_key("judge", ["yes", "no"])`.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
