"""Mutated videos: each is decoded to frames of the right shape, or refused as a `VideoError`.

What still decodes is "used", as a decoder cannot know what the pictures were; what does not is
skipped by training, and counted (`data.bad_video`).
"""

import pathlib
import random
import struct
from collections import Counter

import numpy as np
from clips import write_clip
from fuzz.frame import mutate, outcome

from orl_jax.data.video import ClipFormat, VideoError, frame_times, read_frames, video_digest

SECONDS = 20.0  # for one video on a busy machine; most take a hundredth of a second
CLIP = ClipFormat(4, 32)


def campaign(count: int, seed: int, folder: pathlib.Path) -> Counter[str]:
    """The outcomes of reading `count` mutated videos, made in `folder`.

    Example: `campaign(500, 0, Path("fuzz"))`.
    """
    rng, found = random.Random(seed), Counter()
    whole = [
        write_clip(folder / f"whole{n}.mp4", frames, size=size).read_bytes()
        for n, (frames, size) in enumerate(((24, (32, 32)), (3, (64, 48)), (30, (16, 128))))
    ]
    path = folder / "mutated.mp4"
    for _ in range(count):
        path.write_bytes(_mutated(rng.choice(whole), rng))
        found[outcome(lambda: _read(path), SECONDS, (VideoError,))] += 1
    return found


def _read(path: pathlib.Path) -> None:
    assert video_digest(str(path)) or not path.exists()
    frames = read_frames(path, CLIP)
    assert frames.shape == CLIP.shape and frames.dtype == np.uint8, frames.shape
    times = frame_times(path, CLIP.frames)
    assert times.shape == (CLIP.frames,) and np.isfinite(times).all(), times


def _mutated(content: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(8)
    if kind == 0:  # another type of file
        texts = (b"", b"\x00", b"not a video\n", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....AVI ")
        return rng.choice(texts) + rng.randbytes(rng.choice((0, 100, 5000)))
    if kind == 1:  # sizes and counts in the headers
        data = bytearray(content)
        for _ in range(rng.choice((1, 3))):
            name = rng.choice((b"stsz", b"stts", b"stco", b"stsc", b"mdhd", b"tkhd", b"avc1"))
            start = data.find(name)
            place = start + 4 * rng.randrange(1, 8)
            value = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)))
            data[place : place + 4] = struct.pack(">I", value)
        return bytes(data)
    if kind == 2:  # two files in one
        cut = rng.randrange(len(content))
        return content[:cut] + content[rng.randrange(len(content)) :]
    return mutate(content, rng)
