"""The contents of a clip as class labels: the targets of the vision warm-up.

Real CLIP and Q-Former models come pretrained. The small ones of the embedded world are warmed up on
these labels instead: what each patch of a frame shows, and what each object is and does.
"""

import dataclasses
import json
from typing import NamedTuple

import numpy as np

from orl_jax.data.world.question import ACTIONS, SIDES, action_of
from orl_jax.data.world.render import position
from orl_jax.data.world.scene import COLOURS, EVENT_TIMES, SHAPES, Scene, Thing

# Number of classes of each label; 0 is "none" everywhere.
PATCH_CLASSES = {"colour": len(COLOURS) + 1, "shape": len(SHAPES) + 1}
OBJECT_CLASSES = {
    "shape": len(SHAPES) + 1,
    "action": len(ACTIONS) + 1,
    "start": len(SIDES) + 1,
    "end": len(SIDES) + 1,
    "moment": len(EVENT_TIMES) + 1,
}


class PatchLabels(NamedTuple):
    """Per frame and patch: classes of colour and shape, centre (x, y) of the object."""

    colour: np.ndarray  # int32 [F, P]
    shape: np.ndarray  # int32 [F, P]
    centre: np.ndarray  # float32 [F, P, 2], shares of the picture; 0 where there is none


def scene_to_json(scene: Scene) -> str:
    """A scene as JSON, as stored in the data set."""
    return json.dumps(dataclasses.asdict(scene))


def scene_from_json(text: str) -> Scene:
    """The inverse of `scene_to_json`."""
    fields = json.loads(text)
    return Scene(**{**fields, "things": tuple(Thing(**thing) for thing in fields["things"])})


def patch_labels(scene: Scene, times: np.ndarray, side: int) -> PatchLabels:
    """Labels of `side` x `side` patches at `times` [F] in 0..1: the object in each."""
    grid = (np.arange(side) + 0.5) / side
    shape = (len(times), side, side)
    labels = PatchLabels(
        np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros((*shape, 2), np.float32)
    )
    for thing in scene.things:
        x, y = position(thing, scene.rows, times)
        reach = 0.8 * thing.radius + 0.5 / side
        hit = np.abs(grid[None, None, :] - x[:, None, None]) < reach
        hit = hit & (np.abs(grid[None, :, None] - y[:, None, None]) < reach)
        hit &= thing.visible(times)[:, None, None]
        labels.colour[hit] = 1 + COLOURS.index(thing.colour)
        labels.shape[hit] = 1 + SHAPES.index(thing.shape)
        centre = np.stack([x, y], axis=-1)[:, None, None]
        labels.centre[hit] = np.broadcast_to(centre, labels.centre.shape)[hit]
    count = len(times), side * side
    return PatchLabels(
        labels.colour.reshape(count), labels.shape.reshape(count), labels.centre.reshape(*count, 2)
    )


def object_labels(scene: Scene) -> np.ndarray:
    """The classes of the object of each colour: int32 [colours, labels]."""
    labels = np.zeros((len(COLOURS), len(OBJECT_CLASSES)), np.int32)
    for thing in scene.things:
        labels[COLOURS.index(thing.colour)] = (
            1 + SHAPES.index(thing.shape),
            1 + ACTIONS.index(action_of(thing, scene.rows)),
            _side(thing, scene.rows, 0.0),
            _side(thing, scene.rows, 1.0),
            1 + list(EVENT_TIMES).index(thing.moment) if thing.moment else 0,
        )
    return labels


def _side(thing: Thing, rows: bool, time: float) -> int:
    at = np.array([time])
    if not thing.visible(at)[0]:
        return 0
    name = ("left", "right") if rows else ("top", "bottom")
    return 1 + SIDES.index(name[int(thing.along(at)[0] > 0.5)])
