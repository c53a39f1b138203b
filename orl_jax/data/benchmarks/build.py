"""A benchmark as a data set of the project.

FOLDER/source.json                what it was built from, and what was left out or missing
FOLDER/video_qa/NAME/1.0.0/       array_record shards
FOLDER/preferences.jsonl          of the baseline's preference data: its pairs

Videos stay where they are: items hold absolute paths.
"""

import collections
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from orl_jax.data.benchmarks.benchmark_source import BenchmarkSource
from orl_jax.data.benchmarks.collect import Collected, collect
from orl_jax.data.benchmarks.vlm_rlaif_pairs import write_pairs
from orl_jax.data.items_builder import VideoQa, write_items
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json
from orl_jax.run.reading import read_json

RECORD = "source.json"
WORLD = "world.json"  # the record of the embedded world
PAIRS = "vlm_rlaif_pairs"
SHOWN = 5  # names in a message
_REMEDY = "delete the folder or choose another --config.data.folder"


def build_benchmark(folder: str | os.PathLike[str], source: BenchmarkSource) -> pathlib.Path:
    """Builds the data set of a benchmark in `folder`, or finds it there.

    Args:
      folder: `config.data.folder`; not the folder of the official files.
      source: the benchmark and its files.

    Raises:
      UserError: the folder holds another data set; the official files are missing or unreadable;
        a split has an id twice; a video is missing and `source.missing_videos` is "raise".

    Example: `build_benchmark("data/msvd", BenchmarkSource("msvd_qa", "downloads/msvd"))`.
    """
    folder = pathlib.Path(folder)
    _check_folder(folder, source)
    collected = collect(source)
    _refuse(collected, source)
    splits = _kept(collected, source)
    written = _as_written(splits)
    record = _record(collected, source, written)
    stored = folder / RECORD
    if stored.is_file():
        _check_same(record, read_json(stored, _REMEDY), folder)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    write_items(VideoQa, folder, source.name, written)
    if source.name == PAIRS:
        write_pairs(folder, splits)
    write_json(stored, record)  # last: the data set is whole
    _tell(record, stored)
    return folder


def _check_folder(folder: pathlib.Path, source: BenchmarkSource) -> None:
    if source.folder and folder.resolve() == pathlib.Path(source.folder).resolve():
        raise UserError(
            f"config.data.folder and config.source.folder are both {folder}; choose another "
            "--config.data.folder for the data set that is built"
        )
    if (folder / WORLD).is_file():
        raise UserError(
            f"{folder} holds the embedded world, the config says {source.name}; "
            "delete the folder or choose another --config.data.folder"
        )


def _refuse(collected: Collected, source: BenchmarkSource) -> None:
    """Raises for duplicate ids and, if the source says so, missing videos."""
    if collected.duplicates:
        raise UserError(
            f"{len(collected.duplicates)} ids of {collected.title} occur more than once "
            f"({named(collected.duplicates)}); delete all but one of each in {source.folder}"
        )
    if collected.missing and source.missing_videos == "raise":
        raise UserError(
            f"{len(collected.missing)} videos of {collected.title} are missing "
            f"({named(collected.missing)}); put them there, set config.source.videos, or "
            "--config.source.missing_videos=keep or drop"
        )


def _kept(collected: Collected, source: BenchmarkSource) -> dict[str, list[dict[str, Any]]]:
    """The items to build: those whose video is missing may be dropped."""
    gone = set(collected.missing) if source.missing_videos == "drop" else set()
    splits = {
        split: [item for item in items if item["video"] not in gone]
        for split, items in collected.splits.items()
    }
    splits = {split: items for split, items in splits.items() if items}
    if not splits:
        raise UserError(
            f"no video of {collected.title} is in {source.videos or source.folder} "
            f"({named(collected.missing)}); set config.source.videos to where they lie"
        )
    return splits


def _as_written(splits: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Items with "extra" as JSON."""
    return {
        split: [item | {"extra": json.dumps(item["extra"], ensure_ascii=False)} for item in items]
        for split, items in splits.items()
    }


def _record(
    collected: Collected, source: BenchmarkSource, splits: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """What `source.json` holds; the digest covers all items, so it shows when files change."""
    text = json.dumps(splits, sort_keys=True)
    counts = {
        split: dict(sorted(collections.Counter(item["task_type"] for item in items).items()))
        for split, items in splits.items()
    }
    return {
        "settings": dataclasses.asdict(source),
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "counts": counts,
        "left_out": collected.left_out,
        "missing_videos": collected.missing,
    }


def _check_same(wanted: dict[str, Any], built: dict[str, Any], folder: pathlib.Path) -> None:
    remedy = _REMEDY
    settings = built.get("settings")
    if not isinstance(settings, dict):
        raise UserError(f"{folder / RECORD} has no settings; {remedy}")
    for key, value in wanted["settings"].items():
        other = settings.get(key)
        if other != value:
            raise UserError(
                f"{folder} was built with {key}={other}, the config says {value}; {remedy}"
            )
    if built.get("digest") != wanted["digest"]:
        raise UserError(
            f"the official files or their videos have changed since {folder} was built; {remedy}"
        )


def _tell(record: dict[str, Any], stored: pathlib.Path) -> None:
    for split, counts in record["counts"].items():
        logging.info("%s: %d questions", split, sum(counts.values()))
    for reason, ids in record["left_out"].items():
        logging.warning("%d left out, %s (%s)", len(ids), reason, named(ids))
    if missing := record["missing_videos"]:
        what = "dropped" if record["settings"]["missing_videos"] == "drop" else "kept"
        logging.warning(
            "%d videos are missing (%s); their questions are %s. All are in %s",
            len(missing), named(missing), what, stored,
        )  # fmt: skip


def named(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
