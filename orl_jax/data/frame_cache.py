"""Decoded frames kept in memory, for data sets that are read many times."""

import threading
from collections.abc import Callable

import numpy as np

from orl_jax.data.video import ClipFormat

_MEGABYTE = 1_000_000
_STRIPES = 64  # locks shared by the keys: videos rarely wait for each other

Key = tuple[str, ClipFormat]  # a path, and how the video is read


class FrameCache:
    """Keeps frames until it is full; then it keeps what it has.

    It does not evict old frames: with a data set larger than the cache, reshuffled every epoch,
    most frames would be evicted before they are read again, while keeping a fixed share of the data
    gives that share of hits. With `recent` it evicts the oldest, which suits items that are read
    once, in the order of their videos. Threads may share a cache; processes cannot.

    Args:
      megabytes: the capacity, in 10^6 bytes; 0 keeps nothing.
      recent: whether to evict the oldest frames when room is needed.

    Attributes:
      hits, misses: how often `get` found frames, and how often it did not.
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
        """The frames of a key, read now if they are not kept; only one thread reads a key.

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
        """The frames of a key, read-only, or None."""
        with self._lock:
            frames = self._frames.get(key)
            if frames is None:
                self.misses += 1
            else:
                self.hits += 1
            return frames

    def put(self, key: Key, frames: np.ndarray) -> None:
        """Keeps `frames` if there is room; they become read-only, as they are shared."""
        with self._lock:
            while self._recent and self._frames and frames.nbytes > self._room:
                self._room += self._frames.pop(next(iter(self._frames))).nbytes
            if key not in self._frames and frames.nbytes <= self._room:
                frames.flags.writeable = False
                self._frames[key] = frames
                self._room -= frames.nbytes
