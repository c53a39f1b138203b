"""Random access to the items of a tensorflow-datasets data set (array_record)."""

import hashlib
import operator
import os
import pathlib
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds

from orl_jax.run.errors import UserError

FEATURES = (
    "item_id",
    "video",
    "question",
    "answer",
    "paraphrases",
    "sft_answer",
    "task_type",
    "difficulty",
)
_REMEDY = "run scripts/prepare_data.py first, or set config.data.folder to where it was written"


class Items(Protocol):
    """What the pipeline reads: data items by index, such as a list of dicts."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


def open_split(folder: str | pathlib.Path, split: str) -> "Split":
    """Opens one split of the data set in `folder`.

    Args:
      folder: what `scripts/prepare_data.py` wrote. Its `dataset_info.json` may be up to three
        levels down (NAME/CONFIG/VERSION); the highest version is opened.
      split: "train", or with tensorflow-datasets' slices, "train[:10%]".

    Returns:
      A sequence of data items, python dicts:
      {"item_id": str, "video": str (relative to the folder), "question": str, "answer": str,
      "paraphrases": list of str, "sft_answer": str, "task_type": str, "difficulty": int}, and any
      further features.

    Raises:
      UserError: if the folder, the data set, one of its features or the split is missing.

    Example: `open_split("data/shapes", "test")[0]["question"]`.
    """
    builder = _builder(pathlib.Path(folder))
    missing = [name for name in FEATURES if name not in (builder.info.features or ())]
    if missing:
        raise UserError(f"the data set in {folder} lacks {', '.join(missing)}: {_REMEDY}")
    try:
        files = builder.info.splits[split].filepaths
        records = Split(builder.as_data_source(split), _name(builder), files)
    except (KeyError, ValueError, AssertionError) as error:
        sizes = [f"{name} ({info.num_examples})" for name, info in builder.info.splits.items()]
        there = ", ".join(sorted(sizes)) or "none"
        raise UserError(f'no split "{split}" in {folder}; its splits are: {there}') from error
    except (OSError, NotImplementedError) as error:
        raise UserError(f'split "{split}" in {folder} cannot be read: {error}') from error
    _probe(records, f'split "{split}" in {folder}')
    return records


def splits(folder: str | pathlib.Path) -> list[str]:
    """The names of the splits of the data set in `folder`, in alphabetical order.

    Raises:
      UserError: the folder or the data set is missing.

    Example: `splits("data/shapes") == ["composition", "test", "train", "validation"]`.
    """
    return sorted(_builder(pathlib.Path(folder)).info.splits)


class Split(Sequence):
    """A tensorflow-datasets data source with text as str, lists as list and numbers as int.

    Args:
      records: the data source.
      dataset: the data set's name: a benchmark's as in `config.source.name`, or "shapes_video_qa".
      files: that the records are in.
    """

    def __init__(
        self, records: Sequence[dict[str, Any]], dataset: str = "", files: Sequence[Any] = ()
    ) -> None:
        self._records = records
        self.dataset = dataset
        self._files = list(files)

    @cached_property
    def digest(self) -> str:
        """Of the files' content, 16 hexadecimal digits; videos, which they only name, do not count.

        It takes a second per gigabyte or so.
        """
        digest = hashlib.blake2b()
        for path in self._files:
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        record = self._records[index % len(self)]
        return {name: _plain(value) for name, value in record.items()}


class Selection(Sequence):
    """Some of the items of a data set, looked up lazily; see `select`."""

    def __init__(self, items: Items, indices: Sequence[int]) -> None:
        self.items = items
        self.indices = np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[int(self.indices[operator.index(index)])]


def select(
    items: Items,
    *,
    max_items: int | None = None,
    difficulty: tuple[int, int] | None = None,
    task_types: Collection[str] | None = None,
) -> Selection:
    """The first items that match, in their order.

    Reads as few items as possible: none where only `max_items` is given, otherwise up to the last
    one selected.

    Args:
      items: data items.
      max_items: the most items to select.
      difficulty: lowest and highest, inclusive.
      task_types: names of task types.

    Raises:
      UserError: if nothing is left.

    Example: `select(train, difficulty=(1, 1))` is the easy half of a curriculum.
    """
    limit = len(items) if max_items is None else max_items
    if difficulty is None and task_types is None:
        indices = range(min(limit, len(items)))
    else:
        indices = _matching(items, limit, difficulty, task_types)
    if not len(indices):
        raise UserError(
            f"none of {len(items)} data items is left with max_items={max_items}, "
            f"difficulty={difficulty}, task_types={task_types}"
        )
    return Selection(items, indices)


def _matching(
    items: Items,
    limit: int,
    difficulty: tuple[int, int] | None,
    task_types: Collection[str] | None,
) -> list[int]:
    found: list[int] = []
    for index in range(len(items)):
        if len(found) >= limit:
            break
        item = items[index]
        easy_enough = difficulty is None or difficulty[0] <= item["difficulty"] <= difficulty[1]
        if easy_enough and (task_types is None or item["task_type"] in task_types):
            found.append(index)
    return found


def _builder(folder: pathlib.Path) -> tfds.core.DatasetBuilder:
    """The data set in `folder`, in its highest version."""
    if not os.path.isdir(folder):
        raise UserError(f"no data folder {folder}: {_REMEDY}")
    depths = ("", "*/", "*/*/", "*/*/*/")
    found = [path.parent for depth in depths for path in folder.glob(depth + "dataset_info.json")]
    if not found:
        raise UserError(f"no data set in {folder} (no dataset_info.json): {_REMEDY}")
    if len({path.parent for path in found}) > 1:
        names = ", ".join(sorted(str(path) for path in found))
        raise UserError(f"several data sets in {folder} ({names}): name the folder of one of them")
    try:
        return tfds.builder_from_directory(max(found, key=_version))
    except Exception as error:  # whatever the parsers of its files raise
        raise UserError(f"the data set in {folder} cannot be read ({error}): {_REMEDY}") from error


def _name(builder: tfds.core.DatasetBuilder) -> str:
    """Benchmarks share a builder, whose config has their name."""
    benchmark = builder.info.name == "video_qa"
    return (builder.info.config_name or "own") if benchmark else builder.info.name


def _probe(records: Split, name: str) -> None:
    """Reads the first and the last item, as array_record opens its files only then."""
    try:
        _ = records[0], records[-1]
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name} cannot be read ({reason}): {_REMEDY}") from error


def _version(folder: pathlib.Path) -> tuple[int, ...]:
    """The numbers of a version, so that "1.10.0" sorts after "1.9.0"."""
    return tuple(int(part) for part in folder.name.split(".") if part.isdigit())


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value
