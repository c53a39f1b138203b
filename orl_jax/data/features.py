"""Visual tokens of videos on disk, so that a frozen encoder sees each video once.

FOLDER/KEY/about.json     what made them: weights, frames, size; KEY is its digest
FOLDER/KEY/tokens.bin     a row a video, N x D numbers of one type
FOLDER/KEY/rows.jsonl     which row is whose, and the digest of the video's file
"""

import contextlib
import fcntl
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
from orl_jax.run.files import Journal


class Features:
    """Rows of visual tokens; any process may read, and one at a time writes (`alone`).

    Args:
      folder: `config.data.features`.
      about: JSON: all that the tokens depend on besides the video.
      videos: whose there are to be, each once; paths.
      shape: (N, D) of a video.
      dtype: of the tokens, "float32" or "bfloat16".

    Attributes:
      folder: FOLDER/KEY.
      shape, dtype: of a video's tokens.

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
        (self.folder / "about.json").write_text(text + "\n")
        self._videos = list(videos)
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._load()

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return len(self._tokens) * int(np.prod(self.shape)) * self.dtype.itemsize

    def missing(self) -> list[str]:
        """Videos without a row, or whose file is another one by now; also unreadable ones."""
        return [video for video in self._videos if not self._is_there(video)]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process writes here, sees what it wrote, and keeps others out."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.close()
            self._load()
            yield

    def put(self, videos: Sequence[str], tokens: np.ndarray) -> None:
        """Writes the rows of some videos.

        Args:
          videos: some of the videos.
          tokens: [len(videos) or more, N, D].
        """
        entries = []
        for video, each in zip(videos, tokens, strict=False):
            row = self._rows[video]["row"] if video in self._rows else len(self._rows)
            self._tokens[row] = each.astype(self.dtype).view(self._tokens.dtype)
            about = {"digest": video_digest(video), "stat": _stat(video)}
            self._rows[video] = {"key": video, "row": row, **about}
            entries.append(self._rows[video])
        self._tokens.flush()  # before the lines that say that they are there
        for entry in entries:
            self._journal.add(entry)

    def get(self, video: str) -> np.ndarray:
        """A video's tokens, [N, D].

        Raises:
          VideoError: there are none: the file can't be read, or is another one by now.
        """
        if not self._is_there(video):
            raise VideoError(video, "has no visual tokens, as it can't be read or was changed")
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
        # The bytes are read where the file seems another: of many large videos that takes long.
        same = _stat(video) == row["stat"] != []
        return same or row["digest"] == video_digest(video) != ""

    def _open(self) -> np.memmap:
        """Room for the rows that there are and those to come; holes take no space on disk."""
        path = self.folder / "tokens.bin"
        rows = len(self._rows.keys() | set(self._videos))
        raw = np.dtype(f"u{self.dtype.itemsize}")  # a type that every numpy can map
        path.touch()
        size = rows * int(np.prod(self.shape)) * raw.itemsize
        os.truncate(path, max(size, path.stat().st_size, 1))  # never shorter: others read it, too
        return np.memmap(path, raw, "r+", shape=(rows, *self.shape))


def _stat(video: str) -> list[int]:
    """When a file was changed and its size; empty where there is none."""
    try:
        found = os.stat(video)
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size]


class FeatureReader(ExampleReader):
    """Examples with "media" [N, D], the visual tokens of their video, in place of "frames".

    Args:
      features: where they are.
      others: those of `ExampleReader`.
    """

    def __init__(self, *, features: Features, **settings: Any) -> None:
        super().__init__(cache=None, **settings)
        self._features = features
        self.layout = {"media": (features.shape, features.dtype)} | {
            name: each for name, each in self.layout.items() if name != "frames"
        }

    def _video(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        return {"media": self._features.get(self._path(item))}
