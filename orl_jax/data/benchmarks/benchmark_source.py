"""What a benchmark's data set is built from: `config.source`."""

import dataclasses
from typing import Self

from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class BenchmarkSource:
    """A benchmark's official files and its videos.

    Args:
      name: of the benchmark, a key of `orl_jax.data.benchmarks.registry.BENCHMARKS`, or that of an
        embedded world.
      folder: holds the official files.
      videos: holds the videos, at any depth; "" for `folder`.
      missing_videos: whether items without their video are kept (the pipeline skips and counts
        them), dropped, or refused: "keep", "drop" or "raise".
      validation_share: of the training videos, held out where there is no validation split.

    Example: `BenchmarkSource("msvd_qa", "downloads/msvd")`.
    """

    name: str
    folder: str = ""
    videos: str = ""
    missing_videos: str = "keep"
    validation_share: float = 0.05

    @classmethod
    def of(cls, source: ConfigDict) -> Self:
        """The source in `config.source`."""
        return cls(
            name=source.name,
            folder=source.folder,
            videos=source.videos,
            missing_videos=source.missing_videos,
            validation_share=source.validation_share,
        )
