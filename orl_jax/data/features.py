"""Visual tokens of videos on disk, so that a frozen encoder encodes each video once.

FOLDER/KEY/about.json     what they depend on: weights, frames, size; KEY is its digest
FOLDER/KEY/tokens.bin     one row per video, N x D numbers of one type
FOLDER/KEY/rows.jsonl     the video of each row, and the digest of its file
"""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import ml_dtypes  # noqa: F401  makes numpy know bfloat16
import numpy as np

from orl_jax.data.example import ExampleReader
from orl_jax.data.video import VideoError, video_digest
from orl_jax.run.disk import naming
from orl_jax.run.files import Journal, write_atomic
from orl_jax.run.lock import Lock


class Features:
    """Rows of visual tokens; any process may read, one at a time may write (`exclusive`).

    Args:
      folder: `config.data.features`.
      about: JSON: everything that the tokens depend on apart from the video.
      videos: paths of the videos to hold, each once.
      shape: (N, D), per video.
      dtype: of the tokens, "float32" or "bfloat16".

    Attributes:
      folder: FOLDER/KEY.
      shape, dtype: of the tokens of a video.

    Example: `Features("features", {"weights": "ab12"}, ["a.mp4"], (32, 128), "float32").missing()`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        about: Mapping[str, Any],
        videos: Sequence[str],
        shape: tuple[int, int],
        dtype: str,
    ) -> None:
        about = {**about, "shape": list(shape), "dtype": dtype}
        text = json.dumps(about, sort_keys=True)
        self.folder = pathlib.Path(folder) / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / "about.json", text + "\n")
        self._videos = list(videos)
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._load()

    @property
    def bytes(self) -> int:
        """The size of all rows."""
        return len(self._tokens) * int(np.prod(self.shape)) * self.dtype.itemsize

    def missing(self) -> list[str]:
        """Videos without a row or whose file has changed, unreadable ones included."""
        return [video for video in self._videos if not self._is_there(video)]

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Waits for the lock, reads what other processes wrote, and keeps them from writing."""
        with Lock(self.folder, wait=True):
            self.close()
            self._load()
            yield

    def put(self, videos: Sequence[str], tokens: np.ndarray) -> None:
        """Writes the rows of some videos.

        Args:
          videos: some of the videos.
          tokens: [len(videos) or more, N, D].

        Raises:
          OSError: the disk is full.
        """
        entries = []
        path = self.folder / "tokens.bin"
        # Not through the map: on a full disk that is a signal (SIGBUS), which ends the process.
        with naming(path), path.open("r+b") as file:
            for video, each in zip(videos, tokens, strict=False):
                row = self._rows[video]["row"] if video in self._rows else len(self._rows)
                data = each.astype(self.dtype).tobytes()
                file.seek(row * len(data))
                file.write(data)
                about = {"digest": video_digest(video), "stat": _stat(video)}
                self._rows[video] = {"key": video, "row": row, **about}
                entries.append(self._rows[video])
            file.flush()
            os.fsync(file.fileno())  # before the lines that refer to them
        for entry in entries:
            self._journal.add(entry)

    def get(self, video: str) -> np.ndarray:
        """A video's tokens, [N, D].

        Raises:
          VideoError: there are none, as the file cannot be read or has changed.
        """
        if not self._is_there(video):
            raise VideoError(video, "has no visual tokens, as it cannot be read or has changed")
        return np.array(self._tokens[self._rows[video]["row"]]).view(self.dtype)

    def close(self) -> None:
        """Closes the files."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _load(self) -> None:
        self._journal = Journal(self.folder / "rows.jsonl")
        self._rows = {entry["key"]: entry for entry in self._journal}
        self._tokens = self._open()

    def _is_there(self, video: str) -> bool:
        if not (row := self._rows.get(video)):
            return False
        # The bytes are read only if size or time differ: hashing many large videos takes long.
        same = _stat(video) == row["stat"] != []
        return same or row["digest"] == video_digest(video) != ""

    def _open(self) -> np.memmap:
        """Maps all rows, present and missing; holes take no space on disk."""
        path = self.folder / "tokens.bin"
        rows = len(self._rows.keys() | set(self._videos))
        raw = np.dtype(f"u{self.dtype.itemsize}")  # a type that numpy can map
        path.touch()
        size = rows * int(np.prod(self.shape)) * raw.itemsize
        os.truncate(
            path, max(size, path.stat().st_size, 1)
        )  # never shorter: other processes read it
        return np.memmap(path, raw, "r", shape=(rows, *self.shape))


def _stat(video: str) -> list[int]:
    """Modification time and size of a file; empty if it is missing."""
    try:
        found = os.stat(video)
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size]


class FeatureReader(ExampleReader):
    """Examples with "media" [N, D], the visual tokens of their video, instead of "frames".

    Args:
      features: where they are.
      settings: as for `ExampleReader`.
    """

    def __init__(self, *, features: Features, **settings: Any) -> None:
        super().__init__(cache=None, **settings)
        self._features = features
        self.layout = {"media": (features.shape, features.dtype)} | {
            name: each for name, each in self.layout.items() if name != "frames"
        }

    def _video(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        return {"media": self._features.get(self._path(item))}
