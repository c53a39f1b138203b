"""Frames of real files, good and bad, against what was written into them."""

import pathlib
import pickle

import numpy as np
import pytest
from clips import LEVELS, damage, write_clip
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orl_jax.data.video import VideoError, fit, read_frames, uniform_indices


@pytest.mark.parametrize(
    ("total", "frames", "expected"),
    [
        (10, 4, [0, 3, 6, 9]),
        (32, 8, [0, 4, 8, 13, 17, 22, 26, 31]),  # multiples of 31 / 7 = 4.43, rounded down
        (2, 4, [0, 0, 0, 1]),
        (1, 3, [0, 0, 0]),
        (5, 1, [0]),
    ],
)
def test_indices_by_hand(total, frames, expected):
    assert uniform_indices(total, frames).tolist() == expected


@given(st.integers(1, 10_000), st.integers(2, 64))
def test_indices_span_the_video_in_order(total, frames):
    indices = uniform_indices(total, frames)
    assert (indices[0], indices[-1], len(indices)) == (0, total - 1, frames)
    steps = np.diff(indices)
    assert steps.min() >= 0
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0)])
def test_indices_of_nothing(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        uniform_indices(*sizes)


def test_frames_are_those_of_the_indices(tmp_path):
    clip = read_frames(write_clip(tmp_path / "a.mp4", 24), 6, 32)
    assert clip.shape == (6, 32, 32, 3)
    assert clip.dtype == np.uint8
    levels = LEVELS * uniform_indices(24, 6)
    np.testing.assert_allclose(clip.mean((1, 2, 3)), levels, atol=3)


def test_a_short_clip_repeats_frames(tmp_path):
    clip = read_frames(str(write_clip(tmp_path / "a.mp4", 2, first=50)), 4, 32)
    np.testing.assert_allclose(clip.mean((1, 2, 3)), [50, 50, 50, 58], atol=3)


def test_colours_are_rgb(tmp_path):
    path = tmp_path / "red.mp4"
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        red = np.zeros((32, 32, 3), np.uint8)
        red[..., 0] = 220
        file.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        file.mux(stream.encode())
    np.testing.assert_allclose(read_frames(path, 1, 32).mean((0, 1, 2)), [220, 0, 0], atol=6)


def test_other_sizes_are_resized_and_cropped(tmp_path):
    clip = read_frames(write_clip(tmp_path / "wide.mp4", 4, size=(80, 48)), 2, 32)
    assert clip.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(clip.mean((1, 2, 3)), [0, 3 * LEVELS], atol=3)


def test_fit_crops_the_centre():
    wide = np.zeros((1, 4, 12, 3), np.uint8)
    wide[:, :, 4:8] = np.arange(4)[:, None] + 1  # columns 4..7 are the middle four of twelve
    np.testing.assert_array_equal(fit(wide, 4), wide[:, :, 4:8])
    tall = wide.transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(fit(tall, 4), tall[:, 4:8])


def test_fit_leaves_the_right_size_alone():
    clip = np.zeros((2, 16, 16, 3), np.uint8)
    assert np.shares_memory(fit(clip, 16), clip)


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (50, 33), (16, 20)])
def test_fit_equals_clip_image_processor(size):
    processing = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    processor = processing.CLIPImageProcessorPil(
        size={"shortest_edge": 24}, crop_size=24, do_rescale=False, do_normalize=False
    )
    clip = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    pictures = processor([Image.fromarray(frame) for frame in clip])["pixel_values"]
    np.testing.assert_array_equal(fit(clip, 24), np.stack(pictures).transpose(0, 2, 3, 1))


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(VideoError, match="nowhere.mp4: is missing"):
        read_frames(tmp_path / "nowhere.mp4", 2, 32)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(VideoError, match=r"empty.mp4: is empty \(0 bytes\)"):
        read_frames(empty, 2, 32)


def garbage(path: pathlib.Path) -> pathlib.Path:
    path.write_bytes(np.random.default_rng(0).bytes(4000))
    return path


def truncated(path: pathlib.Path) -> pathlib.Path:
    content = write_clip(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def corrupted(path: pathlib.Path) -> pathlib.Path:
    return damage(write_clip(path))


@pytest.mark.parametrize("spoil", [garbage, truncated, corrupted])
def test_broken_files(tmp_path, spoil):
    path = spoil(tmp_path / "bad.mp4")
    with pytest.raises(VideoError) as caught:
        read_frames(path, 4, 32)
    assert caught.value.path == str(path)
    assert "cannot be decoded" in caught.value.reason
    assert "\n" not in str(caught.value)
    good = write_clip(tmp_path / "good.mp4")
    assert read_frames(good, 2, 32).shape == (2, 32, 32, 3)  # decord goes on


def test_reasons_are_one_line_without_decords_source_code(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError(
            "[20:03:49] /github/video/reader.cc:486: Check failed: x > 0\nStack trace:"
        )

    monkeypatch.setattr("decord.VideoReader", fail)
    with pytest.raises(VideoError) as caught:
        read_frames(write_clip(tmp_path / "a.mp4", 1), 1, 32)
    assert caught.value.reason == "cannot be decoded (Check failed: x > 0)"


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(VideoError("a.mp4", "is missing")))
    assert (error.path, error.reason, str(error)) == ("a.mp4", "is missing", "a.mp4: is missing")
