"""The embedded data set as a tensorflow-datasets builder.

FOLDER/world.json                      the settings it was built with
FOLDER/videos/SPLIT/00012.mp4          real H.264 files
FOLDER/shapes_video_qa/world/1.0.0/    array_record shards: random access, no tensorflow;
                                       described_video_qa of a world of long answers
"""

import dataclasses
import os
import pathlib
from typing import Any, ClassVar

from orl_jax.data.items_builder import TEXT, ItemsBuilder, write_items
from orl_jax.data.world.world import LongWorld, World, make_clips
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json
from orl_jax.run.reading import read_json

_REMEDY = "delete the folder or choose another --config.data.folder"


class ShapesVideoQa(ItemsBuilder):
    """Video questions about moving shapes; "scene" describes the clip."""

    EXTRA: ClassVar[dict[str, Any]] = {"scene": TEXT}


class DescribedVideoQa(ShapesVideoQa):
    """The same with descriptions as answers (`LongWorld`)."""


def build(folder: str | os.PathLike[str], world: World, workers: int = 0) -> pathlib.Path:
    """Builds the data set in `folder`, in `workers` processes (0: one per core), or finds it there.

    Raises:
      UserError: the folder holds a world built with other settings.
    """
    folder = pathlib.Path(folder)
    settings = folder / "world.json"
    if settings.is_file():
        _check_same(world, read_json(settings, _REMEDY), folder)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    items = make_clips(world, folder, workers)
    builder = DescribedVideoQa if isinstance(world, LongWorld) else ShapesVideoQa
    write_items(builder, folder, "world", items)
    write_json(settings, dataclasses.asdict(world))  # last: marks the data set as complete
    return folder


def _check_same(world: World, built: dict[str, Any], folder: pathlib.Path) -> None:
    wanted = dataclasses.asdict(world)
    other = [key for key in {**wanted, **built} if built.get(key) != wanted.get(key)]
    if other:
        key = other[0]
        raise UserError(
            f"{folder} was built with {key}={built.get(key)}, the config says {wanted.get(key)}; "
            f"{_REMEDY}"
        )
