"""Frames of a video file: sampled uniformly, decoded with decord, brought to the encoder's size.

Frames stay uint8 in [0, 255]; the vision model normalises them on the device.

A clip that does not have the encoder's size is treated as `CLIPImageProcessor` treats an image:
its shortest side is resized to `image_size` (bicubic, Pillow), then the centre is cropped to a
square. The baseline pads to a square first (yonseivnl/vlm-rlaif, `image_aspect_ratio="pad"`), which
keeps the borders of a wide picture but makes everything in it smaller.
"""

import os
import pathlib
import re

import decord
import numpy as np
from PIL import Image

# Time and place in decord's C++ code, which tell nobody much.
_SOURCE_POSITION = re.compile(r"\[[\d:]+\] \S+:\d+: ")


class VideoError(Exception):
    """A video file that is missing, empty, broken or without frames.

    Attributes:
      path: the file, as it was asked for.
      reason: what is wrong with it, in one line.
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
    shorter video repeats frames. One frame is the first one.

    Returns:
      int64 [F], not decreasing, in [0, total).

    Raises:
      ValueError: if `total` or `frames` is less than 1.

    Example: `uniform_indices(10, 4)` is [0, 3, 6, 9], `uniform_indices(2, 4)` is [0, 0, 0, 1].
    """
    if total < 1 or frames < 1:
        raise ValueError(f"cannot sample {frames} of {total} frames: both must be at least 1")
    return np.linspace(0, total - 1, frames).astype(np.int64)


def read_frames(path: str | os.PathLike[str], frames: int, image_size: int) -> np.ndarray:
    """Decodes `frames` frames of a video, spread uniformly.

    Args:
      path: a video file that FFmpeg can read.
      frames: F, the number of frames, at least 1.
      image_size: side of the square frames, in pixels.

    Returns:
      uint8 [F, image_size, image_size, 3], RGB, in the order of time.

    Raises:
      VideoError: if the file is missing, empty, not a video, or damaged where frames are needed.

    Example: `read_frames("clip.mp4", 8, 64).shape == (8, 64, 64, 3)`.
    """
    path = os.fspath(path)
    _check_file(path)
    decord.logging.set_level(decord.logging.QUIET)  # FFmpeg's own complaints; ours say it once
    try:
        # One thread: the pipeline decodes several files at a time.
        reader = decord.VideoReader(path, num_threads=1)
        total = len(reader)
        clip = reader.get_batch(uniform_indices(total, frames)).asnumpy() if total else None
    except (RuntimeError, decord.DECORDError) as error:
        raise VideoError(path, f"cannot be decoded ({_one_line(error)})") from error
    if clip is None:
        raise VideoError(path, "has no frames")
    return fit(clip, image_size)


def fit(clip: np.ndarray, image_size: int) -> np.ndarray:
    """Resizes the shortest side to `image_size`, then crops the centre.

    Args:
      clip: uint8 [F, height, width, 3].
      image_size: side of the result, in pixels.

    Returns:
      uint8 [F, image_size, image_size, 3]; `clip` itself if it has that size.
    """
    height, width = clip.shape[1:3]
    short = min(height, width)
    if short != image_size:
        # The long side is rounded down, as CLIPImageProcessor does.
        height, width = image_size * height // short, image_size * width // short
        clip = np.stack([_resize(frame, height, width) for frame in clip])
    top, left = (height - image_size) // 2, (width - image_size) // 2
    return clip[:, top : top + image_size, left : left + image_size]


def _resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


def _check_file(path: str) -> None:
    """Says plainly what decord reports as "Error reading"."""
    if not pathlib.Path(path).is_file():
        raise VideoError(path, "is missing")
    if not os.path.getsize(path):
        raise VideoError(path, "is empty (0 bytes)")


def _one_line(error: Exception) -> str:
    lines = _SOURCE_POSITION.sub("", str(error)).split("\n")
    return lines[0].strip()[:200]
