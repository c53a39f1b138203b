"""Frames of real files, good and bad, compared with what was written."""

import pathlib
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from clips import LEVELS, damage, write_clip
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from orl_jax.data import video
from orl_jax.data.video import ClipFormat, VideoError, fit, read_frames, uniform_indices
from orl_jax.models.vision import MEAN, normalise


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


def test_fifty_frames_are_the_baselines():
    """`linspace` in float64, cast: it rounds down where i * step is just below an integer."""
    table = {total: np.linspace(0, total - 1, 50, dtype=int) for total in range(1, 201)}
    for total, expected in table.items():
        np.testing.assert_array_equal(uniform_indices(total, 50), expected, err_msg=str(total))
    assert uniform_indices(50, 50).tolist() == list(range(50))  # all of a prepared folder
    assert uniform_indices(3, 50).tolist() == [0] * 25 + [1] * 24 + [2]  # i * 2 / 49


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0)])
def test_indices_of_no_frames_are_refused(sizes):
    with pytest.raises(ValueError, match="at least 1"):
        uniform_indices(*sizes)


def test_frames_are_those_of_the_indices(tmp_path):
    clip = read_frames(write_clip(tmp_path / "a.mp4", 24), ClipFormat(6, 32))
    assert clip.shape == (6, 32, 32, 3)
    assert clip.dtype == np.uint8
    levels = LEVELS * uniform_indices(24, 6)
    np.testing.assert_allclose(clip.mean((1, 2, 3)), levels, atol=3)


def test_a_short_clip_repeats_frames(tmp_path):
    clip = read_frames(str(write_clip(tmp_path / "a.mp4", 2, first=50)), ClipFormat(4, 32))
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
    clip = read_frames(path, ClipFormat(1, 32))
    np.testing.assert_allclose(clip.mean((0, 1, 2)), [220, 0, 0], atol=6)


def test_other_sizes_are_resized_and_cropped(tmp_path):
    clip = read_frames(write_clip(tmp_path / "wide.mp4", 4, size=(80, 48)), ClipFormat(2, 32))
    assert clip.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(clip.mean((1, 2, 3)), [0, 3 * LEVELS], atol=3)


def test_fit_crops_the_centre():
    wide = np.zeros((1, 4, 12, 3), np.uint8)
    wide[:, :, 4:8] = np.arange(4)[:, None] + 1  # columns 4..7 are the middle four of twelve
    np.testing.assert_array_equal(fit(wide, 4), wide[:, :, 4:8])
    tall = wide.transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(fit(tall, 4), tall[:, 4:8])


def test_fit_keeps_a_clip_of_the_right_size():
    clip = np.zeros((2, 16, 16, 3), np.uint8)
    assert np.shares_memory(fit(clip, 16), clip)


def test_padding_keeps_the_borders(tmp_path):
    """80x48 in a square of 80: 16 rows above and below, 6.4 of 32."""
    clip = read_frames(
        write_clip(tmp_path / "wide.mp4", 4, size=(80, 48)), ClipFormat(2, 32, "pad")
    )
    background = [122, 116, 104]  # 255 times 0.481, 0.458, 0.408
    assert clip.shape == (2, 32, 32, 3)
    for rows in (clip[:, :5], clip[:, -5:]):
        np.testing.assert_array_equal(rows, np.broadcast_to(background, rows.shape))
    np.testing.assert_allclose(clip[:, 9:23].mean((1, 2, 3)), [0, 3 * LEVELS], atol=3)


def test_padding_puts_the_larger_half_last():
    tall = np.full((1, 4, 1, 3), 255, np.uint8)
    assert (fit(tall, 4, "pad")[0, 0, :, 0] == [122, 255, 122, 122]).all()


def test_an_unknown_framing_is_refused():
    with pytest.raises(ValueError, match='framing is "stretch"; it must be one of crop, pad'):
        fit(np.zeros((1, 4, 4, 3), np.uint8), 4, "stretch")


def expand_to_square(picture: Image.Image) -> Image.Image:
    """The baseline's padding, before its processor."""
    side = max(picture.size)
    square = Image.new("RGB", (side, side), tuple(int(255 * mean) for mean in MEAN))
    square.paste(picture, tuple((side - length) // 2 for length in picture.size))
    return square


@pytest.mark.parametrize("framing", ["crop", "pad"])
@pytest.mark.parametrize("size", [224, 336])
@pytest.mark.parametrize("shape", [(336, 336), (640, 272), (176, 144), (100, 401), (37, 53)])
def test_pictures_are_those_of_clip_image_processor(shape, size, framing):
    """That of Pillow; torchvision's resizes slightly differently, see `orl_jax.data.video`."""
    processing = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    processor = processing.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=size)
    width, height = shape
    clip = np.random.default_rng(0).integers(0, 256, (2, height, width, 3)).astype(np.uint8)
    pictures = [Image.fromarray(frame) for frame in clip]
    if framing == "pad":
        pictures = [expand_to_square(picture) for picture in pictures]
    theirs = np.stack(processor(pictures)["pixel_values"]).transpose(0, 2, 3, 1)
    ours = normalise(jnp.asarray(fit(clip, size, framing)))
    # Far less than a step of intensity, which is 1 / 255 / 0.28 = 0.014 of these.
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(VideoError, match="nowhere.mp4: is missing"):
        read_frames(tmp_path / "nowhere.mp4", ClipFormat(2, 32))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(VideoError, match=r"empty.mp4: is empty \(0 bytes\)"):
        read_frames(empty, ClipFormat(2, 32))


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
        read_frames(path, ClipFormat(4, 32))
    assert caught.value.path == str(path)
    assert "cannot be decoded" in caught.value.reason
    assert "\n" not in str(caught.value)
    good = write_clip(tmp_path / "good.mp4")
    assert read_frames(good, ClipFormat(2, 32)).shape == (2, 32, 32, 3)  # decord still works


def test_reasons_are_one_line_without_decords_source_code(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError(
            "[20:03:49] /github/video/reader.cc:486: Check failed: x > 0\nStack trace:"
        )

    monkeypatch.setattr("decord.VideoReader", fail)
    with pytest.raises(VideoError) as caught:
        read_frames(write_clip(tmp_path / "a.mp4", 1), ClipFormat(1, 32))
    assert caught.value.reason == "cannot be decoded (Check failed: x > 0)"


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(VideoError("a.mp4", "is missing")))
    assert (error.path, error.reason, str(error)) == ("a.mp4", "is missing", "a.mp4: is missing")


def test_absurd_numbers_in_a_header_do_not_end_the_process(tmp_path):
    """decord reserves memory for as many frames, and its C++ aborts."""
    path = write_clip(tmp_path / "clip.mp4")
    content = bytearray(path.read_bytes())
    start = content.index(b"stts") + 12  # how many frames are of one length
    content[start : start + 4] = (2**31 - 1).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(VideoError, match="header says 2147483647 frames, more than bytes"):
        read_frames(path, ClipFormat(4, 32))


def test_frames_of_absurd_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "LARGEST", 16)
    with pytest.raises(VideoError, match="is 32x32; frames of up to 16 are read"):
        read_frames(write_clip(tmp_path / "clip.mp4"), ClipFormat(4, 32))
