"""Which files the page may show: clips that the groups name, and no other file of this machine.

A groups file may come from elsewhere. What it names is served only if the name, and what a link
points to, is that of a video; a relative name must not lead out of the folder of videos.
"""

import mimetypes
import os
from collections.abc import Sequence
from pathlib import Path

from orl_jax.data.benchmarks.video_files import SUFFIXES


class Clips:
    """The clips of a session's groups, by place.

    Args:
      folder: what relative names are relative to (`--videos`).
      videos: as the groups name them; None for a group without one.

    Attributes:
      missing: those that do not exist, each once.
      refused: those that may not be served, each once.

    Example: `Clips("data/shapes", ["/etc/passwd"]).refused` is `["/etc/passwd"]`.
    """

    def __init__(self, folder: str, videos: Sequence[str | None]) -> None:
        self._paths = [_path(folder, video) if video else None for video in videos]
        named = dict.fromkeys(video for video in videos if video)
        self.refused = [video for video in named if _path(folder, video) is None]
        paths = dict.fromkeys(path for path in self._paths if path)
        self.missing = [path for path in paths if not os.path.isfile(path)]

    def find(self, place: int) -> Path | None:
        """The clip of a group; None if it has none, or none that may be shown."""
        path = self._paths[place]
        return path if path is not None and _is_video(path) and os.path.isfile(path) else None

    def named(self, place: int) -> Path | None:
        """Where the clip of a group would be; None if it may not be shown."""
        return self._paths[place]


def content_type(path: Path) -> str:
    """The content type of a clip by its name, "video/…".

    Example: `content_type(Path("a.mp4"))` is "video/mp4".
    """
    found = mimetypes.guess_type(path.name)[0] or ""
    return found if found.startswith("video/") else "video/mp4"


def _path(folder: str, video: str) -> Path | None:
    outside = not os.path.isabs(video) and os.path.normpath(video).split(os.sep)[0] == os.pardir
    path = Path(folder, video)
    return None if outside or "\0" in video or not _is_video(path) else path


def _is_video(path: Path) -> bool:
    """By its name, and by that of what it links to."""
    names = (path.name, os.path.basename(os.path.realpath(path)))
    return all(_is_video_name(name) for name in names)


def _is_video_name(name: str) -> bool:
    found = mimetypes.guess_type(name)[0] or ""
    return name.lower().endswith(SUFFIXES) or found.startswith("video/")
