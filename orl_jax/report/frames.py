"""Frames of a clip as images that live inside the page."""

import base64
import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from orl_jax.data.video import ClipFormat, VideoError, read_frames

SHOWN = 8  # frames of a clip
LARGEST = 96  # pixels per side; a page of larger frames of real video would weigh megabytes
_PNG_UP_TO = 64  # pixels per side; beyond that JPEG is several times smaller


class Frames:
    """Reads clips of a data folder, or of several, each at most once."""

    def __init__(self, folders: pathlib.Path | Sequence[pathlib.Path], clip: ClipFormat) -> None:
        """Takes the policy's clips; how many frames are shown, and how large, is capped."""
        self._folders = [folders] if isinstance(folders, pathlib.Path) else list(folders)
        self._clip = ClipFormat(
            frames=max(1, min(clip.frames, SHOWN)),
            image_size=max(2, min(clip.image_size, LARGEST)),
            framing=clip.framing,
        )
        self._seen: dict[str, Sequence[str]] = {}

    def __call__(self, video: str) -> Sequence[str]:
        """Data addresses of the clip's frames; none where it cannot be read.

        Args:
          video: path relative to a data folder, or absolute.
        """
        if video not in self._seen:
            places = [folder / video for folder in self._folders]
            self._seen[video] = self._read(next(filter(pathlib.Path.is_file, places), places[0]))
        return self._seen[video]

    def _read(self, path: pathlib.Path) -> list[str]:
        try:
            clip = read_frames(path, self._clip)
        except VideoError:
            return []
        return [_data_address(frame) for frame in clip]


def _data_address(frame: np.ndarray) -> str:
    kind = "png" if max(frame.shape[:2]) <= _PNG_UP_TO else "jpeg"
    options = {"optimize": True} if kind == "png" else {"quality": 82}
    content = io.BytesIO()
    Image.fromarray(frame).save(content, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
