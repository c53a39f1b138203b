"""Frames of a video file: sampled uniformly, decoded with decord, resized for the encoder.

Frames stay uint8 in [0, 255]; the vision model normalises them on the device.

There are two framings. "crop" is `CLIPImageProcessor`'s: the shortest side is resized to
`image_size` (bicubic, Pillow), then the centre is cropped to a square. "pad" is what the baseline
does before that (yonseivnl/vlm-rlaif, `image_aspect_ratio="pad"`): it pads to a square, which keeps
the borders of a wide picture but makes everything in it smaller. A checkpoint needs the framing
that it was trained with.

Frames are resized with Pillow, as in the baseline's processor. The processor that transformers 5
uses where torchvision is installed has filter weights of 16 bits: fewer than 1 % of the values then
differ, by 1 or 2.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Self

import av
import decord
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from orl_jax.run.errors import UserError

# Time and source line in decord's C++ code, which do not help a user.
_SOURCE_POSITION = re.compile(r"\[[\d:]+\] \S+:\d+: ")

LARGEST = 16384  # pixels per side of a video
_QUICK = {"probesize": "32", "analyzeduration": "0"}  # the header only
FRAMINGS = ("crop", "pad")
# int(255 * mean) of CLIP's channels, which the normalised picture has near zero.
_BACKGROUND = (122, 116, 104)


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """The clips that a model sees.

    Args:
      frames: F, sampled uniformly from a video, at least 1.
      image_size: side of the square frames, in pixels.
      framing: of a video that is not square: "crop" | "pad".

    Raises:
      UserError: an unknown framing.

    Example: `ClipFormat(frames=8, image_size=64).shape == (8, 64, 64, 3)`.
    """

    frames: int
    image_size: int
    framing: str = "crop"

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise UserError(f'config.data.framing is "{self.framing}"; it must be crop or pad')

    @classmethod
    def of(cls, data: ConfigDict) -> Self:
        """The format in `config.data`; that of the policy, whose vision tower depends on it."""
        return cls(data.frames, data.image_size, data.framing)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[F, image_size, image_size, 3], of a clip."""
        return (self.frames, self.image_size, self.image_size, 3)


class VideoError(Exception):
    """A video file that is missing, empty, broken or without frames.

    Attributes:
      path: the file, as given.
      reason: what is wrong, in one line.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)  # both arguments, so that it can be pickled
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def uniform_indices(total: int, frames: int) -> np.ndarray:
    """Indices of `frames` frames spread over a video of `total` frames, both ends included.

    The baseline's rule (yonseivnl/vlm-rlaif): `linspace(0, total - 1, frames)`, cast to int. A
    shorter video repeats frames. A single frame is the first one.

    Returns:
      int64 [F], not decreasing, in [0, total).

    Raises:
      ValueError: `total` or `frames` is less than 1.

    Example: `uniform_indices(10, 4)` is [0, 3, 6, 9], `uniform_indices(2, 4)` is [0, 0, 0, 1].
    """
    if total < 1 or frames < 1:
        raise ValueError(f"cannot sample {frames} of {total} frames: both must be at least 1")
    return np.linspace(0, total - 1, frames).astype(np.int64)


def read_frames(path: str | os.PathLike[str], clip: ClipFormat) -> np.ndarray:
    """Decodes frames of a video, spread uniformly.

    Args:
      path: a video file that FFmpeg can read.
      clip: how many frames, how large, and how they are framed.

    Returns:
      uint8 [F, image_size, image_size, 3], RGB, in the order of time.

    Raises:
      VideoError: the file is missing, empty, not a video, or damaged where frames are needed.

    Example: `read_frames("clip.mp4", ClipFormat(8, 64)).shape == (8, 64, 64, 3)`.
    """

    def decode(reader: decord.VideoReader) -> np.ndarray:
        return reader.get_batch(uniform_indices(len(reader), clip.frames)).asnumpy()

    return fit(_read(path, decode), clip.image_size, clip.framing)


def frame_times(path: str | os.PathLike[str], frames: int) -> np.ndarray:
    """The times at which the frames of `read_frames` begin; nothing is decoded.

    Args:
      path: a video file that FFmpeg can read.
      frames: F, the number of frames, at least 1.

    Returns:
      float64 [F], in seconds, not decreasing.

    Raises:
      VideoError: the file is missing, empty, not a video or without frames.

    Example: `frame_times("clip.mp4", 3)` of 9 frames, 8 a second, is [0, 0.5, 1].
    """

    def look(reader: decord.VideoReader) -> np.ndarray:
        sampled = uniform_indices(len(reader), frames)
        return reader.get_frame_timestamp(sampled)[:, 0].astype(np.float64)

    return _read(path, look)


def video_digest(path: str | None) -> str:
    """A hash of a file's bytes; "" without a path or where the file cannot be read."""
    if not path:
        return ""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return _digest(path, status.st_mtime_ns, status.st_size)


def _read(path: str | os.PathLike[str], what: Callable[[Any], np.ndarray]) -> np.ndarray:
    """Opens a video that has frames and applies `what` to it."""
    path = os.fspath(path)
    _check_file(path)
    decord.logging.set_level(decord.logging.QUIET)  # FFmpeg's own messages; ours says it once
    try:
        # One thread: the pipeline decodes several files at a time.
        reader = decord.VideoReader(path, num_threads=1)
        found = what(reader) if len(reader) else None
    except (RuntimeError, decord.DECORDError) as error:
        raise VideoError(path, f"cannot be decoded ({_one_line(error)})") from error
    if found is None:
        raise VideoError(path, "has no frames")
    return found


def fit(clip: np.ndarray, image_size: int, framing: str = "crop") -> np.ndarray:
    """Resizes a clip for the encoder.

    "crop" resizes the shortest side, then crops the centre (`CLIPImageProcessor`); "pad" pads
    to a square with CLIP's mean colour, then resizes (the baseline's `expand2square`).

    Args:
      clip: uint8 [F, height, width, 3].
      image_size: side of the result, in pixels.
      framing: "crop" | "pad".

    Returns:
      uint8 [F, image_size, image_size, 3]; `clip` itself if it already has that size.

    Raises:
      ValueError: an unknown framing.

    Example: `fit(clip, 336, "pad")` of a clip of 640x272 has 97 rows of background above and below.
    """
    if framing not in FRAMINGS:
        raise ValueError(f'framing is "{framing}"; it must be one of {", ".join(FRAMINGS)}')
    height, width = clip.shape[1:3]
    if framing == "pad" and height != width:
        # One by one: the squares of all frames of a large video would need much memory.
        return np.stack([_resize(_square(frame), image_size, image_size) for frame in clip])
    short = min(height, width)
    if short != image_size:
        # The long side is rounded down, as CLIPImageProcessor does.
        height, width = image_size * height // short, image_size * width // short
        clip = np.stack([_resize(frame, height, width) for frame in clip])
    top, left = (height - image_size) // 2, (width - image_size) // 2
    return clip[:, top : top + image_size, left : left + image_size]


def _square(frame: np.ndarray) -> np.ndarray:
    """A frame centred on the background; of an odd margin the larger half is last."""
    height, width = frame.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    picture = np.full((side, side, 3), _BACKGROUND, np.uint8)
    picture[top : top + height, left : left + width] = frame
    return picture


def _resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


def _check_file(path: str) -> None:
    """Names what decord would report only as "Error reading"."""
    if not os.path.isfile(path):
        raise VideoError(path, "is missing")
    if not os.path.getsize(path):
        raise VideoError(path, "is empty (0 bytes)")
    _check_header(path)


def _check_header(path: str) -> None:
    """Refuses a header with absurd numbers: decord believes it, and its C++ ends the process."""
    try:
        with av.open(path, metadata_errors="ignore", options=_QUICK) as file:
            sizes = [(each.frames, each.width, each.height) for each in file.streams.video]
    except MemoryError as error:
        raise VideoError(path, "is damaged: reading its header takes too much memory") from error
    except Exception:  # of FFmpeg or its binding; decord says what is wrong
        return
    for frames, width, height in sizes:
        if frames > os.path.getsize(path):
            raise VideoError(path, f"is damaged: its header says {frames} frames, more than bytes")
        if max(width, height) > LARGEST:
            raise VideoError(path, f"is {width}x{height}; frames of up to {LARGEST} are read")


def _one_line(error: Exception) -> str:
    lines = _SOURCE_POSITION.sub("", str(error)).split("\n")
    return lines[0].strip()[:200]


@lru_cache(maxsize=100_000)
def _digest(path: str, _changed: int, _size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
