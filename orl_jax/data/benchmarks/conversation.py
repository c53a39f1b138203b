"""Conversations about folders of frames, as in the baseline's files."""

import pathlib
from typing import Any

from orl_jax.data.benchmarks.official_files import text_of
from orl_jax.data.text.prompt import IMAGE_TOKEN, strip_all

SPEAKERS = (("human", "user"), ("gpt", "assistant"))  # of the first and the second turn


def said(turns: list[dict[str, Any]], index: int) -> str:
    """The text of the first or second turn, without `<image>`; "" if the speaker is wrong.

    Example: `said([{"from": "human", "value": "<image> Who?"}], 0) == "Who?"`.
    """
    if index >= len(turns):
        return ""
    speaker = turns[index].get("from", turns[index].get("role"))
    text = text_of(turns[index].get("value")) if speaker in SPEAKERS[index] else ""
    return strip_all(text, (IMAGE_TOKEN,))


def frame_folders(row: dict[str, Any]) -> tuple[set[str], int]:
    """The folders of a row's frames, and the number of frames.

    Example: {"images": ["set/VID/1.jpg", "set/VID/2.jpg"]} gives ({"set/VID"}, 2).
    """
    images = row.get("images") or ([row["image"]] if row.get("image") else [])
    folders = {str(pathlib.PurePosixPath(image).parent) for image in images}
    return folders - {"."}, len(images)


def video_of(frames: str) -> str:
    """The name of the video whose frames lie in a folder."""
    return pathlib.PurePosixPath(frames).name
