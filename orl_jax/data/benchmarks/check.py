"""Checks a data set before it is built: counts, videos that decode, ids, leaks between splits."""

import collections
import dataclasses
import itertools
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

from orl_jax.data.benchmarks.benchmark_source import BenchmarkSource
from orl_jax.data.benchmarks.build import named
from orl_jax.data.benchmarks.collect import Collected, collect
from orl_jax.data.benchmarks.registry import WORLDS
from orl_jax.data.source import open_split
from orl_jax.data.video import ClipFormat, VideoError, read_frames
from orl_jax.data.world.world import SPLITS
from orl_jax.run.errors import UserError

PROBE_SIZE = 32  # pixels; a small frame is enough to see that a video decodes


@dataclasses.dataclass
class Findings:
    """What a check found.

    Attributes:
      collected: the items, with what was left out.
      unreadable: "PATH: REASON" of videos that exist but cannot be decoded.
      leaks: videos that two splits share, by "SPLIT and SPLIT".
      tolerates_missing: whether missing videos are dropped, and so are not a fault.
    """

    collected: Collected
    unreadable: list[str]
    leaks: dict[str, list[str]]
    tolerates_missing: bool

    def faults(self) -> list[str]:
        """Everything that is wrong, each with its count and first names."""
        missing = [] if self.tolerates_missing else self.collected.missing
        kinds = {
            "duplicate ids": self.collected.duplicates,
            "missing videos": missing,
            "unreadable videos": self.unreadable,
            **{f"videos in both {pair}": paths for pair, paths in self.leaks.items()},
        }
        return [f"{len(names)} {kind} ({named(names)})" for kind, names in kinds.items() if names]


def check(source: BenchmarkSource, folder: str) -> Findings:
    """Checks a data set before it is built; the embedded world, after.

    The first and the last frame of every video are decoded.

    Args:
      source: the benchmark and its files, or "shapes" or "describe" for an embedded world.
      folder: where the embedded world was built; not read for a benchmark.

    Raises:
      UserError: the official files, or the embedded world, are missing or unreadable.
    """
    if source.name in WORLDS:
        collected, drop = _built_world(folder), False
    else:
        collected, drop = collect(source), source.missing_videos == "drop"
    missing = set(collected.missing)
    there = sorted(
        {item["video"] for items in collected.splits.values() for item in items} - missing
    )
    return Findings(collected, _unreadable(there), _leaks(collected.splits), drop)


def report(findings: Findings) -> None:
    """Prints the table to standard output.

    Raises:
      UserError: something is wrong; one line with all of it.
    """
    for line in table(findings):
        print(line)
    if faults := findings.faults():
        raise UserError(f"{findings.collected.title}: {'; '.join(faults)}")


def table(findings: Findings) -> Iterable[str]:
    """Lines: questions and videos of each split, questions of each type, what was left out."""
    splits = findings.collected.splits
    types = sorted({item["task_type"] for items in splits.values() for item in items})
    width = max(map(len, ["questions", *types])) + 2
    yield findings.collected.title
    yield " " * width + "".join(f"{split:>12}" for split in splits)
    rows: dict[str, list[int]] = {
        "questions": [len(items) for items in splits.values()],
        "videos": [len({item["video"] for item in items}) for items in splits.values()],
    }
    counts = [collections.Counter(i["task_type"] for i in items) for items in splits.values()]
    rows |= {name: [count[name] for count in counts] for name in types}
    for name, numbers in rows.items():
        yield f"{name:<{width}}" + "".join(f"{number:>12,}" for number in numbers)
    for reason, ids in findings.collected.left_out.items():
        yield f"left out, {reason}: {len(ids)} ({named(ids)})"
    yield f"missing videos: {len(findings.collected.missing)}"
    yield f"unreadable videos: {len(findings.unreadable)}"


def _built_world(folder: str) -> Collected:
    splits: dict[str, list[dict[str, Any]]] = {
        split: [item | {"video": f"{folder}/{item['video']}"} for item in open_split(folder, split)]
        for split in SPLITS
    }
    return Collected("the embedded world", splits, {}, [], [])


def _unreadable(paths: list[str]) -> list[str]:
    found = []
    for path in tqdm(paths, "videos", unit="video", file=sys.stderr):
        try:
            read_frames(path, ClipFormat(2, PROBE_SIZE))
        except VideoError as error:
            found.append(str(error))
    return found


def _leaks(splits: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    videos = {split: {item["video"] for item in items} for split, items in splits.items()}
    shared = {
        f"{first} and {second}": sorted(videos[first] & videos[second])
        for first, second in itertools.combinations(videos, 2)
    }
    return {pair: paths for pair, paths in shared.items() if paths}
