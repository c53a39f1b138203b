"""Clips with the labels of their scenes, for the vision warm-up."""

from typing import Any

import numpy as np

from orl_jax.data.example import ExampleReader
from orl_jax.data.video import uniform_indices
from orl_jax.data.world.scene import COLOURS
from orl_jax.data.world.scene_labels import (
    OBJECT_CLASSES,
    object_labels,
    patch_labels,
    scene_from_json,
)


class SceneReader(ExampleReader):
    """Clips as arrays: "frames", and the labels "patch_colour" and "patch_shape" int32 [F, P],
    "patch_centre" float32 [F, P, 2] and "objects" int32 [colours, labels]; see `scene_labels`.

    Args:
      side: patches along each side of the picture.
      clip_frames: frames in the clip's file, of which F are read.
      settings: as for `ExampleReader`.
    """

    def __init__(self, *, side: int, clip_frames: int, **settings: Any) -> None:
        super().__init__(answers=None, **settings)
        self._side = side
        frames = self.layout["frames"][0][0]
        self._times = uniform_indices(clip_frames, frames) / max(clip_frames - 1, 1)
        grid = (frames, side * side)
        self.layout = {
            "frames": self.layout["frames"],
            "patch_colour": (grid, np.int32),
            "patch_shape": (grid, np.int32),
            "patch_centre": ((*grid, 2), np.float32),
            "objects": ((len(COLOURS), len(OBJECT_CLASSES)), np.int32),
        }

    def _texts(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        scene = scene_from_json(item["scene"])
        patches = patch_labels(scene, self._times, self._side)
        return {
            "patch_colour": patches.colour,
            "patch_shape": patches.shape,
            "patch_centre": patches.centre,
            "objects": object_labels(scene),
        }
