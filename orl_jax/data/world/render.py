"""Draws scenes and writes them as H.264 mp4 files."""

import pathlib

import av
import numpy as np

from orl_jax.data.world.scene import Scene, Thing

RGB = {
    "red": (225, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 90, 235),
    "yellow": (240, 210, 40),
    "purple": (165, 60, 200),
    "white": (245, 245, 245),
}


def render(scene: Scene, frames: int, size: int) -> np.ndarray:
    """Draws a scene: uint8 [frames, size, size, 3], RGB, edges smoothed over one pixel."""
    time = np.linspace(0.0, 1.0, frames)
    clip = np.full((frames, size, size, 3), scene.background, np.float32)
    for thing in scene.things:
        cover = _coverage(thing, scene.rows, time, size)[..., None]
        clip += cover * (np.asarray(RGB[thing.colour], np.float32) - clip)
    return clip.round().astype(np.uint8)


def position(thing: Thing, rows: bool, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (x, y) of an object at `time` [N], as fractions of the picture; y points down."""
    along, across = thing.along(time), np.full_like(time, thing.lane)
    return (along, across) if rows else (across, along)


def _coverage(thing: Thing, rows: bool, time: np.ndarray, size: int) -> np.ndarray:
    """Fraction of each pixel that the object covers: float32 [N, size, size]."""
    x, y = position(thing, rows, time)
    grid = np.arange(size, dtype=np.float32) + 0.5
    dx = (grid[None, None, :] - (x * size)[:, None, None]).astype(np.float32)
    dy = (grid[None, :, None] - (y * size)[:, None, None]).astype(np.float32)
    inside = _distance(thing.shape, dx, dy, thing.radius * size)
    return np.clip(0.5 - inside, 0.0, 1.0) * thing.visible(time)[:, None, None]


def _distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance (pixels, negative inside) of offsets from the centre to a shape's outline."""
    ax, ay = np.abs(dx), np.abs(dy)
    if shape == "circle":
        return np.hypot(dx, dy) - radius
    if shape == "square":
        return np.maximum(ax, ay) - 0.88 * radius
    if shape == "triangle":  # points up: apex at -1.1 radii, base of half-width 1.05 at 0.85 radii
        sides = (1.95 * ax - 1.05 * (dy + 1.1 * radius)) / np.hypot(1.95, 1.05)
        return np.maximum(sides, dy - 0.85 * radius)
    arm = 0.36 * radius
    return np.minimum(
        np.maximum(ax - arm, ay - 1.05 * radius), np.maximum(ay - arm, ax - 1.05 * radius)
    )


def write_mp4(path: pathlib.Path, clip: np.ndarray, rate: int) -> None:
    """Encodes a clip, uint8 [N, H, W, 3] with H and W even, as H.264 (yuv420p)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": "18", "preset": "veryfast", "threads": "1"}
        )
        stream.height, stream.width = clip.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
