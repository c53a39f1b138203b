"""Visual tokens on disk: which videos have them, and what they depend on."""

import os

import ml_dtypes
import numpy as np
import pytest
from clips import make_encoder, make_item, write_clip

from orl_jax.data.features import Features
from orl_jax.data.pipeline import make_loader
from orl_jax.data.video import ClipFormat, VideoError
from orl_jax.data.video_settings import VideoSettings

SHAPE = (2, 3)


@pytest.fixture
def videos(tmp_path):
    return [str(write_clip(tmp_path / f"{name}.mp4", 4)) for name in "abc"]


def tokens(number):
    return np.full(SHAPE, number, np.float32)


def store(folder, videos, dtype="float32", **about):
    return Features(folder / "features", {"weights": "w", **about}, videos, SHAPE, dtype)


def test_rows_persist_and_missing_ones_are_named(tmp_path, videos):
    with store(tmp_path, videos) as features:
        assert features.missing() == videos
        assert features.bytes == 3 * 6 * 4
        features.put(videos[1:], np.stack([tokens(1), tokens(2)]))
    with store(tmp_path, videos) as features:
        assert features.missing() == videos[:1]
        np.testing.assert_array_equal(features.get(videos[2]), tokens(2))
        features.put(videos[:1], tokens(0)[None])
        for number, video in enumerate(videos):
            np.testing.assert_array_equal(features.get(video), tokens(number))


def test_adding_videos_keeps_the_other_rows(tmp_path, videos):
    with store(tmp_path, videos[:1]) as features:
        features.put(videos[:1], tokens(7)[None])
    with store(tmp_path, videos[::-1]) as features:
        assert features.missing() == [videos[2], videos[1]]
        features.put(videos[1:2], tokens(8)[None])
        np.testing.assert_array_equal(features.get(videos[0]), tokens(7))


def test_a_changed_video_is_encoded_again(tmp_path, videos):
    with store(tmp_path, videos) as features:
        features.put(videos, np.stack([tokens(n) for n in range(3)]))
        os.utime(videos[1])
        assert features.missing() == []  # its bytes are the same
        write_clip(tmp_path / "a.mp4", 5)
        assert features.missing() == videos[:1]
        with pytest.raises(VideoError, match="changed"):
            features.get(videos[0])
        features.put(videos[:1], tokens(9)[None])
        np.testing.assert_array_equal(features.get(videos[0]), tokens(9))


def test_other_weights_have_other_rows(tmp_path, videos):
    with store(tmp_path, videos) as features:
        features.put(videos, np.stack([tokens(n) for n in range(3)]))
    with store(tmp_path, videos, weights="other") as features:
        assert features.missing() == videos


def test_bfloat16_round_trips(tmp_path, videos):
    values = np.linspace(-3, 3, 6).reshape(SHAPE).astype(ml_dtypes.bfloat16)
    with store(tmp_path, videos, "bfloat16") as features:
        features.put(videos[:1], values[None])
        found = features.get(videos[0])
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    assert features.bytes == 3 * 6 * 2


def test_batches_have_tokens_instead_of_frames(tmp_path, videos):
    items = [make_item(number, f"{name}.mp4") for number, name in enumerate("abcd")]  # d is missing
    with store(tmp_path, videos) as features:
        features.put(videos, np.stack([tokens(n) for n in range(3)]))
        with make_loader(
            items,
            VideoSettings(tmp_path, ClipFormat(2, 16)),
            encoder=make_encoder(2),
            batch_size=3,
            shuffle=False,
            features=features,
            answers=None,
        ) as loader:
            batch = next(loader)
            assert "frames" not in batch
            np.testing.assert_array_equal(batch["media"][:, 0, 0], [0, 1, 2])
            next(loader)
            assert loader.bad_videos == 1


def test_two_writers_keep_every_row(tmp_path, videos):
    with store(tmp_path, videos) as one, store(tmp_path, videos) as other:
        with one.exclusive():
            one.put(videos[:2], np.stack([tokens(1), tokens(2)]))
        with other.exclusive():
            assert other.missing() == videos[2:]
            other.put(videos[2:], tokens(3)[None])
    with store(tmp_path, videos) as features:
        for number, video in enumerate(videos, 1):
            np.testing.assert_array_equal(features.get(video), tokens(number))
