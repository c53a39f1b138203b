"""Decoded frames kept in memory, for data sets that are read many times."""

import threading
from collections.abc import Callable

import numpy as np

from orl_jax.data.video import ClipFormat

_MEGABYTE = 1_000_000
_STRIPES = 64  # locks that keys share: two videos seldom wait for each other

Key = tuple[str, ClipFormat]  # a path and how it was read


class FrameCache:
    """Keeps frames until it is full, and then what it has.

    It does not make room by dropping old frames: a data set larger than the cache, read in another
    order every epoch, would drop most frames before they are read again, while a fixed share of the
    data kept gives that share of hits. One of `recent` frames does, for items in the order of their
    videos, read once. Threads may share it; processes cannot.

    Args:
      megabytes: how much to keep, in 10^6 bytes; 0 keeps nothing.
      recent: drop what was put first where room is needed.

    Attributes:
      hits, misses: how often `get` found something, and how often not.
    """

    def __init__(self, megabytes: float, *, recent: bool = False) -> None:
        self.hits = 0
        self.misses = 0
        self._room = int(megabytes * _MEGABYTE)
        self._recent = recent
        self._frames: dict[Key, np.ndarray] = {}
        self._lock = threading.Lock()
        self._reading = [threading.Lock() for _ in range(_STRIPES)]

    def __len__(self) -> int:
        return len(self._frames)

    def fetch(self, key: Key, read: Callable[[], np.ndarray]) -> np.ndarray:
        """The frames that were read this way, or are read now; of several threads one reads.

        Raises:
          VideoError: what `read` raises.
        """
        with self._reading[hash(key) % _STRIPES]:
            frames = self.get(key)
            if frames is None:
                frames = read()
                self.put(key, frames)
            return frames

    def get(self, key: Key) -> np.ndarray | None:
        """The frames that were read this way, read-only, or None."""
        with self._lock:
            frames = self._frames.get(key)
            if frames is None:
                self.misses += 1
            else:
                self.hits += 1
            return frames

    def put(self, key: Key, frames: np.ndarray) -> None:
        """Keeps `frames` if there is room; read-only from then on, as they are handed out again."""
        with self._lock:
            while self._recent and self._frames and frames.nbytes > self._room:
                self._room += self._frames.pop(next(iter(self._frames))).nbytes
            if key not in self._frames and frames.nbytes <= self._room:
                frames.flags.writeable = False
                self._frames[key] = frames
                self._room -= frames.nbytes
