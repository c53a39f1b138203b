"""The items of a benchmark: official files read, videos found, splits completed."""

import dataclasses
import os
import pathlib
import zlib
from typing import Any

from orl_jax.data.benchmarks.benchmark_source import BenchmarkSource
from orl_jax.data.benchmarks.official_files import OfficialFiles
from orl_jax.data.benchmarks.reading import Entry, Reading
from orl_jax.data.benchmarks.registry import BENCHMARKS, Benchmark
from orl_jax.data.benchmarks.video_files import VideoFiles
from orl_jax.run.errors import UserError


@dataclasses.dataclass
class Collected:
    """What there is to build or to check.

    Attributes:
      title: the data set's name for people.
      splits: items by split; "video" is absolute, "extra" a dict.
      left_out: "SPLIT: ID" by the reason.
      duplicates: "SPLIT: ID" of the ids that a split has more than once.
      missing: paths of the videos that were not found, each once.
    """

    title: str
    splits: dict[str, list[dict[str, Any]]]
    left_out: dict[str, list[str]]
    duplicates: list[str]
    missing: list[str]


def collect(source: BenchmarkSource) -> Collected:
    """Reads a benchmark's official files; what is wrong with them is reported, not judged.

    Raises:
      UserError: `source.folder` is not set; a file is missing or unreadable; nothing is left.

    Example: `collect(BenchmarkSource("msvd_qa", "downloads")).splits["test"][0]["question"]`.
    """
    benchmark = BENCHMARKS[source.name]
    if not source.folder:
        raise UserError(
            f"config.source.folder is empty; set it to the folder with the files of "
            f"{benchmark.title} (docs/own_data.md)"
        )
    videos = pathlib.Path(source.videos or source.folder)
    if source.videos and not os.path.isdir(videos):  # the folder's own message names its key
        raise UserError(
            f"no folder {videos}: set config.source.videos to the videos of {benchmark.title}"
        )
    files = OfficialFiles(benchmark.title, benchmark.origin, source.folder, videos)
    reading = _read(benchmark, files)
    if not any(reading.splits.values()):
        raise UserError(
            f"no question of {benchmark.title} is left in {source.folder}; see its files"
        )
    missing: set[str] = set()
    found = VideoFiles(videos)
    splits = {
        split: [_item(entry, found, missing) for entry in entries]
        for split, entries in reading.splits.items()
    }
    _hold_out(splits, source.validation_share)
    return Collected(
        benchmark.title, splits, dict(reading.left_out), reading.duplicates(), sorted(missing)
    )


def _read(benchmark: Benchmark, files: OfficialFiles) -> Reading:
    try:
        return benchmark.read(files)
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # a value of an unexpected type
        raise UserError(
            f"the files in {files.folder} are not laid out as those of {benchmark.title} "
            f"({type(error).__name__}: {error}); compare docs/own_data.md"
        ) from error


def _item(entry: Entry, videos: VideoFiles, missing: set[str]) -> dict[str, Any]:
    path = videos.find(entry.videos)
    if path is None:
        path = videos.expected(entry.videos[0])
        missing.add(path)
    return entry.item(path)


def _hold_out(splits: dict[str, list[dict[str, Any]]], share: float) -> None:
    """Makes a validation split of whole videos of train, where there is none.

    Which videos these are depends only on their names.
    """
    train = splits.get("train", [])
    if splits.get("validation") or not train or not share:
        return
    draws = {item["video"]: _draw(item["video"]) for item in train}
    bound = max(share, min(draws.values()))  # at least one video
    if len(draws) < 2 or max(draws.values()) <= bound:
        return
    splits["validation"] = [item for item in train if draws[item["video"]] <= bound]
    splits["train"] = [item for item in train if draws[item["video"]] > bound]


def _draw(video: str) -> float:
    """A number in [0, 1) that depends on the name of a video, wherever it lies."""
    return zlib.crc32(pathlib.Path(video).stem.encode()) / 2**32
