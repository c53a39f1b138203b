"""How a data set's videos are found and decoded, and what to do where that fails."""

import dataclasses
import os
from typing import Self

from ml_collections import ConfigDict

from orl_jax.data.video import ClipFormat
from orl_jax.run.errors import UserError


@dataclasses.dataclass(frozen=True)
class VideoSettings:
    """What every reader of videos needs: the part of `config.data` that is about videos.

    Args:
      folder: what the items' video paths are relative to.
      clip: the clips that the model sees.
      bad_video: what to do with an unreadable video: "skip" it, or "raise".
      workers: processes that decode; 0 decodes in `threads` threads of this process, which is
        enough where decoding is most of the work, as it does not hold the interpreter's lock.
      threads: see `workers`.

    Raises:
      UserError: a value is out of range.

    Example: `VideoSettings("data/shapes", ClipFormat(frames=8, image_size=64))`.
    """

    folder: str | os.PathLike[str]
    clip: ClipFormat
    bad_video: str = "skip"
    workers: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        if self.bad_video not in ("skip", "raise"):
            raise UserError(
                f'config.data.bad_video is "{self.bad_video}"; it must be skip or raise'
            )
        for name, least in (("workers", 0), ("threads", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    @classmethod
    def of(cls, data: ConfigDict) -> Self:
        """The settings in `config.data`."""
        return cls(data.folder, ClipFormat.of(data), data.bad_video, data.workers)
