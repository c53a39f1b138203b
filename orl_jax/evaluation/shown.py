"""The subtitles for a prompt: those at the times of the frames, as many as fit."""

import json
import pathlib
from typing import Any

from orl_jax.data.text.prompt import asked
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.subtitles import at_times, read_cues, shorten
from orl_jax.data.video import VideoError, frame_times


class Shown:
    """Returns the subtitles for an item's prompt; "" if it has none.

    Args:
      folder: what the videos' paths are relative to.
      frames: F, frames of a video.
      encoder: tells whether a prompt is short enough.

    Raises:
      UserError: when called, if a file of subtitles cannot be read.

    Example: `Shown("data/mme", 50, encoder)({"extra": "{}", ...}) == ""`.
    """

    def __init__(self, folder: str, frames: int, encoder: PromptEncoder) -> None:
        self._folder = pathlib.Path(folder)
        self._frames = frames
        self._encoder = encoder
        self._lines: dict[str, list[str]] = {}

    def __call__(self, item: dict[str, Any]) -> str:
        lines = self._of_video(item)

        def fits(text: str) -> bool:
            prompt = asked(item | {"subtitles": text})
            return self._encoder.prompt_size(prompt) <= self._encoder.prompt_length

        return shorten(lines, fits)

    def _of_video(self, item: dict[str, Any]) -> list[str]:
        file = json.loads(item.get("extra") or "{}").get("subtitles", "")
        if not file:
            return []
        if item["video"] not in self._lines:
            self._lines[item["video"]] = self._read(file, item["video"])
        return self._lines[item["video"]]

    def _read(self, file: str, video: str) -> list[str]:
        try:
            times = frame_times(self._folder / video, self._frames)
        except VideoError:  # the pipeline reports and skips it
            return []
        return at_times(read_cues(self._folder / file), times)
