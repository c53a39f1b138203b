"""Writes items as a tensorflow-datasets data set: array_record shards, without tensorflow.

FOLDER/BUILDER/NAME/1.0.0/    what `orl_jax.data.source.open_split` reads
"""

import dataclasses
import logging
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

TEXT = tfds.features.Text()
TEXTS = tfds.features.Sequence(TEXT)


@dataclasses.dataclass(eq=False)
class ItemsConfig(tfds.core.BuilderConfig):
    """A builder config that carries the items of each split."""

    items: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict, repr=False)


class ItemsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Video questions, one example per question. Subclasses add their `EXTRA` features."""

    VERSION = tfds.core.Version("1.0.0")
    EXTRA: ClassVar[dict[str, Any]] = {}

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "item_id": TEXT,
            "video": TEXT,
            "question": TEXT,
            "answer": TEXT,
            "paraphrases": TEXTS,
            "sft_answer": TEXT,
            "task_type": TEXT,
            "difficulty": np.int32,
            **self.EXTRA,
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict]]]:
        return {split: self._generate_examples(split) for split in self.builder_config.items}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        for item in self.builder_config.items[split]:
            yield item["item_id"], item


class VideoQa(ItemsBuilder):
    """A benchmark's video questions.

    "options" are the choices of a question, empty where it is open-ended; "extra" is JSON: what
    else the benchmark's own file format needs.
    """

    EXTRA: ClassVar[dict[str, Any]] = {"options": TEXTS, "extra": TEXT}


def write_items(
    builder: type[ItemsBuilder],
    folder: str | os.PathLike[str],
    name: str,
    items: dict[str, list[dict[str, Any]]],
) -> None:
    """Writes the items of each split, in an order that depends only on their ids.

    What an earlier call wrote under the same name is replaced.

    Args:
      builder: which features items have.
      folder: the data folder.
      name: of the builder's config.
      items: by split; ids differ within a split.

    Raises:
      tensorflow_datasets.core.DuplicatedKeysError: two items of a split have the same id.

    Example: `write_items(VideoQa, "data/msvd", "msvd_qa", {"test": [item]})`.
    """
    tfds.disable_progress_bar()
    logging.getLogger("absl").setLevel(logging.ERROR)  # tfds narrates every step
    config = ItemsConfig(name=name, items=items)
    rebuild = tfds.download.DownloadConfig(download_mode=tfds.GenerateMode.REUSE_CACHE_IF_EXISTS)
    maker = builder(data_dir=str(folder), config=config, file_format="array_record")
    maker.download_and_prepare(download_config=rebuild)
