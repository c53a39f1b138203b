"""Items round-trip through array_record, and selections look them up lazily."""

import pickle
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from clips import make_item

from orl_jax.data.source import FEATURES, open_split, select
from orl_jax.run.errors import UserError

ITEMS = [make_item(number, f"videos/train/{number}.mp4") for number in range(7)]
ITEMS[3] |= {"paraphrases": [], "question": "Où est le carré?"}


def write(folder, items, version="1.0.0", features=FEATURES):
    """Writes items as `scripts/prepare_data.py` does: FOLDER/NAME/VERSION."""
    text = tfds.features.Text()
    spec = dict.fromkeys(features, text)
    spec["paraphrases"] = tfds.features.Sequence(text)
    if "difficulty" in features:
        spec["difficulty"] = np.int32

    class SmallSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(spec), disable_shuffling=True
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for key, item in enumerate(items):
                yield key, {name: item[name] for name in spec}

    SmallSet(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


tfds.disable_progress_bar()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"), ITEMS)


class Counting:
    """Items that count how often they are read."""

    def __init__(self) -> None:
        self.reads = 0

    def __len__(self) -> int:
        return len(ITEMS)

    def __getitem__(self, index: int) -> dict:
        self.reads += 1
        return ITEMS[index]


def test_items_come_back_as_python_values(folder):
    train = open_split(folder, "train")
    assert list(train) == ITEMS
    assert train[-1] == ITEMS[-1]
    assert type(train[0]["difficulty"]) is int
    assert type(train[0]["paraphrases"]) is list
    with pytest.raises(IndexError):
        train[len(ITEMS)]


def test_the_version_folder_itself_can_be_opened(folder):
    assert len(open_split(folder / "small_set" / "1.0.0", "train")) == len(ITEMS)


def test_slices_of_a_split(folder):
    assert list(open_split(folder, "train[:3]")) == ITEMS[:3]


def test_a_split_can_be_pickled(folder):
    assert list(pickle.loads(pickle.dumps(open_split(folder, "train")))) == ITEMS


def test_the_highest_version_counts(tmp_path):
    write(tmp_path, ITEMS[:1], "1.9.0")
    write(tmp_path, ITEMS[:2], "1.10.0")
    assert len(open_split(tmp_path, "train")) == 2


def test_two_data_sets_in_a_folder_are_refused(folder, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(folder / "small_set", tmp_path / name)
    with pytest.raises(UserError, match="several data sets"):
        open_split(tmp_path, "train")


def test_missing_folder_data_set_and_split(folder, tmp_path):
    with pytest.raises(UserError, match="no data folder .*nowhere: run scripts/prepare_data.py"):
        open_split(tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match="no data set in .*run scripts/prepare_data.py"):
        open_split(tmp_path, "train")
    for split in ("test", "train[:3", "", "train[:0]", "train[:1%]"):
        with pytest.raises(UserError, match=r'no split ".*" in .*; its splits are: train \(7\)'):
            open_split(folder, split)


def test_broken_data_sets(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "a")
    shards = list((tmp_path / "a").glob("*/*/*array_record*"))
    assert shards
    for spoil in (lambda shard: shard.write_bytes(b"x" * 5000), lambda shard: shard.unlink()):
        for shard in shards:
            spoil(shard)
        with pytest.raises(UserError, match=r'split "train" in .* cannot be read'):
            open_split(tmp_path / "a", "train")
    shutil.copytree(folder, tmp_path / "b")
    (tmp_path / "b" / "small_set" / "1.0.0" / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match="data set in .* cannot be read"):
        open_split(tmp_path / "b", "train")


def test_missing_features_are_named(tmp_path):
    some = [name for name in FEATURES if name not in ("sft_answer", "difficulty")]
    with pytest.raises(UserError, match="lacks sft_answer, difficulty"):
        open_split(write(tmp_path, ITEMS, features=some), "train")


def test_select_by_number_reads_nothing():
    items = Counting()
    chosen = select(items, max_items=3)
    assert (len(chosen), items.reads) == (3, 0)
    assert chosen[2] == ITEMS[2]
    assert len(select(items, max_items=100)) == len(ITEMS)
    assert len(select(items)) == len(ITEMS)


def test_select_by_difficulty_and_type():
    hard = [item for item in ITEMS if item["difficulty"] == 2]
    assert 0 < len(hard) < len(ITEMS)
    assert list(select(ITEMS, difficulty=(2, 2))) == hard
    assert list(select(ITEMS, difficulty=(1, 2))) == ITEMS
    odd = [item for item in ITEMS if item["task_type"] == "counting"]
    assert list(select(ITEMS, task_types=["counting"])) == odd
    both = select(ITEMS, difficulty=(2, 2), task_types={"counting"})
    assert list(both) == [item for item in hard if item in odd]


def test_select_stops_reading_when_it_has_enough():
    items = Counting()
    assert list(select(items, max_items=2, task_types={"action recognition"}).indices) == [0, 2]
    assert items.reads == 3


def test_an_empty_selection_is_refused():
    with pytest.raises(UserError, match="none of 7 data items is left .*difficulty=\\(5, 9\\)"):
        select(ITEMS, difficulty=(5, 9))
    with pytest.raises(UserError, match="max_items=0"):
        select(ITEMS, max_items=0)
