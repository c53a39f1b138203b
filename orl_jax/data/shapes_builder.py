"""The embedded data set as a tensorflow-datasets builder.

FOLDER/world.json                      the settings that it was built with
FOLDER/videos/SPLIT/00012.mp4          real H.264 files
FOLDER/shapes_video_qa/world/1.0.0/    array_record shards: random access, no tensorflow
"""

import dataclasses
import json
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from orl_jax.data.world import SPLITS, World, make_clips
from orl_jax.errors import UserError


@dataclasses.dataclass(eq=False)
class ItemsConfig(tfds.core.BuilderConfig):
    """A builder config that carries the items of each split."""

    items: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict, repr=False)


class ShapesVideoQa(tfds.core.GeneratorBasedBuilder):
    """Video questions about moving shapes; one example a question."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        features = {
            "item_id": text,
            "video": text,
            "question": text,
            "answer": text,
            "paraphrases": tfds.features.Sequence(text),
            "sft_answer": text,
            "task_type": text,
            "difficulty": np.int32,
            "scene": text,
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict]]]:
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        for item in self.builder_config.items[split]:
            yield item["item_id"], item


def build(folder: str | os.PathLike[str], world: World, workers: int = 0) -> pathlib.Path:
    """Builds the data set in `folder`, in `workers` processes (0: one a core), or finds it there.

    Raises:
      UserError: the folder holds a world that was built with other settings.
    """
    folder = pathlib.Path(folder)
    settings = folder / "world.json"
    if settings.is_file():
        _check_same(world, json.loads(settings.read_text()), folder)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    items = make_clips(world, folder, workers)
    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)  # tfds narrates every step
    config = ItemsConfig(name="world", items=items)
    builder = ShapesVideoQa(data_dir=str(folder), config=config, file_format="array_record")
    builder.download_and_prepare()
    settings.write_text(json.dumps(dataclasses.asdict(world), indent=2) + "\n")  # last: it is whole
    return folder


def _check_same(world: World, built: dict[str, Any], folder: pathlib.Path) -> None:
    wanted = dataclasses.asdict(world)
    other = [key for key in wanted if built.get(key) != wanted[key]]
    if other:
        key = other[0]
        raise UserError(
            f"{folder} was built with {key}={built.get(key)}, the config says {wanted[key]}; "
            "delete the folder or choose another --config.data.folder"
        )
