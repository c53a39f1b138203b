"""A synthetic video file to decode where none is given."""

import os
import pathlib

import av
import numpy as np

RATE, SECONDS, SIZE = 30, 10, (360, 480)


def write_synthetic_video(path: str | os.PathLike[str], seconds: int = SECONDS) -> pathlib.Path:
    """Writes an H.264 file of a moving pattern, 30 frames a second, 480 x 360 pixels.

    Example: `write_synthetic_video("clip.mp4").stat().st_size`.
    """
    path, pattern = pathlib.Path(path), _pattern()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(RATE * seconds):
            picture = np.ascontiguousarray(np.roll(pattern, (number, 2 * number), (0, 1)))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return path


def _pattern() -> np.ndarray:
    """Blocks of colour with the noise of a camera."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (SIZE[0] // 40, SIZE[1] // 40, 3))
    blobs = coarse.repeat(40, 0).repeat(40, 1)
    return np.clip(blobs + rng.normal(0, 6, (*SIZE, 3)), 0, 255).astype(np.uint8)
