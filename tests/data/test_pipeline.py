"""Batches of the right order and shape, resumed exactly, also with unreadable videos."""

import json
import logging
import multiprocessing
import os
import pathlib
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from clips import damage, make_encoder, make_item, write_clip

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader
from orl_jax.data.pipeline import batches, make_loader
from orl_jax.data.video import ClipFormat, read_frames
from orl_jax.data.video_settings import VideoSettings
from orl_jax.run.errors import UserError

N, B, F, SIZE = 10, 4, 3, 32
ENCODER = make_encoder(N)
BAD = (2, 3, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Good videos 0 to 9, and bad ones."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(N):
        write_clip(folder / f"{number}.mp4", 6, first=16 * number)
    damage(write_clip(folder / "damaged.mp4", 6))
    (folder / "empty.mp4").touch()
    (folder / "garbage.mp4").write_bytes(b"garbage" * 100)
    return folder


def items(bad: tuple[int, ...] = ()) -> list[dict]:
    """Items 0 to 9; the videos of `bad` are damaged, empty or missing."""
    spoilt = dict(zip(bad, ("damaged.mp4", "empty.mp4", "missing.mp4") * N, strict=False))
    return [make_item(number, spoilt.get(number, f"{number}.mp4")) for number in range(N)]


def videos_of(folder: pathlib.Path, settings: dict) -> VideoSettings:
    """Moves the settings of videos out of `settings`."""
    names = {"bad_video", "workers", "threads"} & settings.keys()
    clip = ClipFormat(F, SIZE, settings.pop("framing", "crop"))
    return VideoSettings(folder, clip, **{name: settings.pop(name) for name in names})


def loader(folder: pathlib.Path, data: list[dict] | None = None, **settings) -> Loader:
    settings = {"batch_size": B, "seed": 1} | settings
    videos = videos_of(folder, settings)
    return make_loader(items() if data is None else data, videos, encoder=ENCODER, **settings)


def evaluation(folder: pathlib.Path, data: list[dict], **settings) -> Loader:
    videos = videos_of(folder, settings)
    return batches(data, videos, encoder=ENCODER, batch_size=B, **settings)


def numbers(batch: dict) -> list[int]:
    return [int(item["item_id"].split("/")[1]) for item in batch["items"]]


def take(source: Iterator[dict], count: int) -> list[dict]:
    return [next(source) for _ in range(count)]


def assert_same(ours: list[dict], theirs: list[dict]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        assert a["items"] == b["items"]
        for name in a.keys() - {"items"}:
            np.testing.assert_array_equal(a[name], b[name])


def test_arrays_of_a_batch(folder):
    with loader(folder) as source:
        batch = next(source)
    described = {name: (a.shape, a.dtype) for name, a in batch.items() if name != "items"}
    assert described == {
        "frames": ((B, F, SIZE, SIZE, 3), np.uint8),
        "prompt_ids": ((B, 24), np.int32),
        "prompt_mask": ((B, 24), np.bool_),
        "response_ids": ((B, 8), np.int32),
        "response_mask": ((B, 8), np.bool_),
        "valid": ((B,), np.bool_),
    }
    assert batch["valid"].all()


def assert_rows_belong_together(folder, batch: dict) -> None:
    """Video, question and answer of a row belong to its item."""
    for row, number in enumerate(numbers(batch)):
        expected = read_frames(folder / f"{number}.mp4", ClipFormat(F, SIZE))
        np.testing.assert_array_equal(batch["frames"][row], expected)
        ids, mask = ENCODER.encode_prompt(f"What is number {number}?")
        np.testing.assert_array_equal(batch["prompt_ids"][row], ids)
        np.testing.assert_array_equal(batch["prompt_mask"][row], mask)
        assert ENCODER.decode(batch["response_ids"][row]) == ("It is blue.", False)


def test_rows_belong_together(folder):
    with loader(folder) as source:
        for batch in take(source, 3):
            assert_rows_belong_together(folder, batch)


def test_answers(folder):
    with loader(folder, answers="clean") as source:
        assert ENCODER.decode(next(source)["response_ids"][0]) == ("It is red.", False)
    with loader(folder, answers=None) as source:
        assert not {"response_ids", "response_mask"} & next(source).keys()
    with pytest.raises(UserError, match='answers is "wrong"'):
        loader(folder, answers="wrong")


def test_every_epoch_has_all_items_in_a_new_order(folder):
    with loader(folder, batch_size=5) as source:
        epochs = [sum(map(numbers, take(source, 2)), []) for _ in range(4)]
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_depends_only_on_the_seed(folder):
    def order(seed: int, threads: int) -> list[list[int]]:
        with loader(folder, seed=seed, threads=threads) as source:
            return [numbers(batch) for batch in take(source, 4)]

    assert order(1, 1) == order(1, 3) != order(2, 1)


def test_without_shuffling(folder):
    with loader(folder, shuffle=False) as source:
        assert [numbers(batch) for batch in take(source, 3)] == [
            [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1],
        ]  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_finite_epochs_drop_an_incomplete_batch(folder, workers):
    with loader(folder, shuffle=False, epochs=2, batch_size=6, workers=workers) as source:
        seen = [numbers(batch) for batch in source]
        assert seen == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 0, 1], [2, 3, 4, 5, 6, 7]]
        assert next(source, None) is None
        end = source.get_state()
    workers = min(workers, 1)  # starting one takes seconds
    with loader(folder, shuffle=False, epochs=2, batch_size=6, workers=workers) as again:
        again.set_state(end)
        assert next(again, None) is None


@pytest.mark.parametrize(
    ("before", "after", "bad", "stops"),
    [(0, 0, (), (0, 1, 3)), (0, 0, BAD, (0, 1, 3)), (2, 1, BAD, (2,)), (0, 1, BAD, (2,))],
)
def test_resuming_is_exact(folder, before, after, bad, stops):
    """Also if the number of workers changes, and with bad videos around the stop."""
    data = items(bad)
    with loader(folder, data, workers=before) as source:
        for stop in stops:
            take(source, stop)
            state = json.loads(json.dumps(source.get_state()))
            expected = take(source, 4)
            counted = source.bad_videos
            with loader(folder, data, workers=after) as resumed:
                take(resumed, not after)  # it may have been used before
                resumed.set_state(state)
                assert resumed.get_state() == state
                assert_same(take(resumed, 4), expected)
                assert resumed.bad_videos == counted
                assert resumed.get_state() == source.get_state()


def test_a_state_can_be_restored_after_close(folder):
    with loader(folder) as source:
        start = source.get_state()
        first = take(source, 3)
        source.set_state(start)
        assert_same(take(source, 2), first[:2])
        source.close()
        assert_same(take(source, 1), first[2:])


@pytest.mark.parametrize(
    ("settings", "named"), [({"seed": 2}, "seed=1"), ({"shuffle": False}, "shuffle=True")]
)
def test_a_state_for_another_order_is_refused(folder, settings, named):
    state = loader(folder).get_state()
    with pytest.raises(UserError, match=named):
        loader(folder, **settings).set_state(state)
    with pytest.raises(UserError, match="items=10"):
        loader(folder, items()[:5]).set_state(state)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_videos_are_skipped_and_counted(folder, caplog, workers):
    data = items(BAD)
    good = [number for number in range(N) if number not in BAD]
    with (
        caplog.at_level(logging.WARNING),
        loader(folder, data, batch_size=7, shuffle=False, workers=workers) as source,
    ):
        assert [numbers(batch) for batch in take(source, 3)] == [good, good, good]
        assert source.bad_videos == 3
    warned = [record.getMessage() for record in caplog.records if "unreadable" in record.message]
    assert len(warned) == 3  # once each, not once per epoch
    for path, reason, text in zip(
        ("damaged.mp4", "empty.mp4", "missing.mp4"),
        ("cannot be decoded", "is empty", "is missing"),
        warned,
        strict=True,
    ):
        assert f"{folder}/{path} {reason}" in text


def test_bad_videos_count_when_they_are_reached(folder):
    with loader(folder, items(BAD), shuffle=False, batch_size=2) as source:
        counts = []
        for _ in range(3):
            next(source)
            counts.append(source.bad_videos)
    assert counts == [0, 2, 3]  # batches 0 1, 4 5, 6 8; what is read ahead does not count


@pytest.mark.parametrize("workers", [0, 1])
def test_policy_raise_names_the_path(folder, workers):
    source = loader(folder, items((0,)), bad_video="raise", shuffle=False, workers=workers)
    with source, pytest.raises(UserError, match="unreadable video: .*damaged.mp4 cannot be decod"):
        next(source)


def test_workers_leave_interrupts_to_the_main_process(folder):
    """Ctrl-C reaches all processes; the main one must still get its batch and save."""
    with loader(folder, workers=2, shuffle=False) as source:
        before = set(multiprocessing.active_children())
        for batch in take(source, 3):
            assert_rows_belong_together(folder, batch)
        for worker in set(multiprocessing.active_children()) - before:
            os.kill(worker.pid, signal.SIGINT)
        # More than was read ahead: eight batches.
        rest = take(source, 13)
        assert numbers(rest[-1]) == [0, 1, 2, 3]
        for batch in rest:
            assert_rows_belong_together(folder, batch)


@pytest.mark.parametrize("epochs", [None, 1, 3])
def test_nothing_readable_ends_in_an_error(folder, epochs):
    data = items(tuple(range(N)))
    with (
        loader(folder, data, epochs=epochs) as source,
        pytest.raises(UserError, match="can be read"),
    ):
        next(source)


def test_one_readable_video_is_enough(folder):
    """However many unreadable ones come between: last in one epoch, first in the next."""
    for good in range(N):
        data = items(tuple(number for number in range(N) if number != good))
        with loader(folder, data, batch_size=3) as source:
            assert numbers(take(source, 2)[1]) == [good] * 3


def test_too_few_for_a_batch(folder):
    with pytest.raises(UserError, match="10 data items are too few for a batch of 11"):
        loader(folder, epochs=1, batch_size=11)
    with pytest.raises(UserError, match="0 data items"):
        loader(folder, [])
    with (
        loader(folder, items(BAD), epochs=1, batch_size=8) as source,
        pytest.raises(
            UserError, match="only 7 of 10 data items can be read, too few for a batch of 8"
        ),
    ):
        next(source)
    with loader(folder, batch_size=2 * N) as source:  # endless epochs are long enough
        assert sorted(numbers(next(source))) == sorted([*range(N), *range(N)])


def test_too_long_texts_are_errors(folder):
    data = items()
    data[0]["question"] = "What is number 0?" * 10
    with (
        loader(folder, data, shuffle=False) as source,
        pytest.raises(
            UserError, match="item train/0: the prompt of .*config.data.prompt_tokens is 24"
        ),
    ):
        next(source)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"bad_video": "ignore"}, "config.data.bad_video"),
        ({"framing": "stretch"}, "config.data.framing"),
        ({"workers": 2, "cache": FrameCache(1)}, "config.data.cache_mb to 0"),
        ({"workers": -1}, "workers is -1"),
        ({"threads": 0}, "threads is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings_are_refused(folder, settings, named):
    with pytest.raises(UserError, match=named):
        loader(folder, **settings)


def test_cached_frames_are_the_same_frames(folder):
    cache = FrameCache(1)
    with loader(folder, items(BAD)) as plain, loader(folder, items(BAD), cache=cache) as cached:
        assert_same(take(cached, 6), take(plain, 6))


def test_the_cache_avoids_decoding(folder):
    cache = FrameCache(1)
    with loader(folder, cache=cache, shuffle=False, threads=1) as source:
        take(source, 10)  # four epochs, and what was read ahead
        source.close()
    assert cache.misses == len(cache) == N
    assert cache.hits >= 3 * N
    with loader(folder, cache=cache) as other:
        next(other)
    assert cache.misses == N


def test_a_full_cache_keeps_what_it_has():
    frames = np.zeros((100,), np.uint8)
    cache = FrameCache(250e-6)  # room for two
    for number in range(3):
        assert cache.get((str(number), ClipFormat(1, 1))) is None
        cache.put((str(number), ClipFormat(1, 1)), frames.copy())
    found = [cache.get((str(number), ClipFormat(1, 1))) is not None for number in range(3)]
    assert found == [True, True, False]
    assert (cache.hits, cache.misses) == (2, 4)
    with pytest.raises(ValueError, match="read-only"):
        cache.get(("0", ClipFormat(1, 1)))[0] = 1


@pytest.mark.parametrize("make", [make_loader, batches])
def test_framings_do_not_share_frames(tmp_path, make):
    wide = write_clip(tmp_path / "wide.mp4", 4, size=(80, 48))
    cache = FrameCache(1)
    for framing in ("pad", "crop", "pad"):
        clip = ClipFormat(F, SIZE, framing)
        settings = {"encoder": ENCODER, "batch_size": 1, "cache": cache}
        with make([make_item(1, wide.name)], VideoSettings(tmp_path, clip), **settings) as source:
            frames = next(source)["frames"][0]
        np.testing.assert_array_equal(frames, read_frames(wide, clip))
    assert len(cache) == 2


def test_waiting_time_is_measured(folder):
    with loader(folder) as source:
        assert source.wait_seconds == 0
        next(source)
        assert source.wait_seconds > 0


def test_evaluation_is_one_pass_in_order_with_a_padded_last_batch(folder):
    with evaluation(folder, items()) as source:
        seen = list(source)
    assert [numbers(batch) for batch in seen] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [batch["valid"].tolist() for batch in seen] == [
        [True] * 4, [True] * 4, [True, True, False, False],
    ]  # fmt: skip
    assert len({batch["frames"].shape for batch in seen}) == 1
    last = seen[-1]
    for name in ("frames", "prompt_ids", "prompt_mask", "response_ids", "response_mask"):
        np.testing.assert_array_equal(last[name][2:], last[name][[1, 1]])
    assert ENCODER.decode(last["response_ids"][0]) == ("It is red.", False)


def test_evaluation_skips_bad_videos(folder):
    with evaluation(folder, items((1, 9)), answers=None) as source:
        assert [numbers(batch) for batch in source] == [[0, 2, 3, 4], [5, 6, 7, 8]]
        assert source.bad_videos == 2
    with evaluation(folder, items((1,)), bad_video="raise") as source, pytest.raises(UserError):
        list(source)
    with evaluation(folder, items(tuple(range(N)))) as source:
        assert list(source) == []
        assert source.bad_videos == 3  # damaged, empty, missing


def test_evaluation_of_one_item(folder):
    with evaluation(folder, items()[:1]) as source:
        assert [batch["valid"].tolist() for batch in source] == [[True, False, False, False]]
    with evaluation(folder, [make_item(0, "missing.mp4")]) as source:
        assert list(source) == []
