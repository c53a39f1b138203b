"""Small video files and items for the tests of this folder."""

import pathlib

import av
import numpy as np

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer

LEVELS = 8  # grey levels of frames lie this far apart, more than H.264 loses


def write_clip(
    path: pathlib.Path, frames: int = 24, *, size: tuple[int, int] = (32, 32), first: int = 0
) -> pathlib.Path:
    """A real H.264 file of plain grey frames: frame i has the level `first` + LEVELS * i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            picture = np.full((size[1], size[0], 3), first + LEVELS * i, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return path


def damage(path: pathlib.Path) -> pathlib.Path:
    """Overwrites the middle of a file, where the pictures are; it still opens."""
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    middle = slice(start, max(start + 20, content.index(b"moov") - 4))
    content[middle] = b"\xff" * len(content[middle])
    path.write_bytes(content)
    return path


def make_item(number: int, video: str) -> dict:
    """A data item whose question tells its number."""
    return {
        "item_id": f"train/{number}",
        "video": video,
        "question": f"What is number {number}?",
        "answer": "It is red.",
        "paraphrases": ["Red.", "It is the red one."],
        "sft_answer": "It is blue.",
        "task_type": "counting" if number % 2 else "action recognition",
        "difficulty": 1 + number % 3 // 2,
    }


def make_encoder(numbers: int, visual_tokens: int = 4) -> PromptEncoder:
    """Knows the questions and answers of `numbers` items."""
    items = [make_item(number, "") for number in range(numbers)]
    texts = [item[name] for item in items for name in ("question", "answer", "sft_answer")]
    return PromptEncoder(build_word_tokenizer(texts), visual_tokens, 24, 8)
