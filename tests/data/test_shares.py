"""Several processes with a share of every batch read what a single one would."""

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from clips import write_clip
from test_pipeline import BAD, B, N, assert_same, evaluation, items, loader, numbers, take

from orl_jax.data.loader import Loader
from orl_jax.run.errors import UserError
from orl_jax.training.curriculum import Curriculum

P = 2  # shares, unless a test says otherwise
ROWS = B // P


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Videos 0 to 9; the bad ones of `items` are all missing here."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(N):
        write_clip(folder / f"{number}.mp4", 6, first=16 * number)
    return folder


@pytest.fixture
def shared(folder) -> Iterator[Callable[..., list]]:
    """Makes the loaders of all shares; closes them after the test."""
    with contextlib.ExitStack() as stack:

        def make(one: Callable, data: list[dict], shares: int = P, **settings) -> list:
            settings["shares"] = shares
            loaders = [one(folder, data, share=share, **settings) for share in range(shares)]
            return [stack.enter_context(source) for source in loaders]

        yield make


def curriculum(folder: pathlib.Path, data: list[dict], **settings) -> Curriculum:
    """Two batches of the even items, then endlessly the odd ones."""
    phases = [loader(folder, data[first::2], **settings) for first in (0, 1)]
    return Curriculum(list(zip((2, 4), phases, strict=True)))


def taken(loaders: list, count: int) -> list[list[dict]]:
    """The next batches of each."""
    return [take(source, count) for source in loaders]


def joined(parts: list[list[dict]]) -> list[dict]:
    """The batches of all shares, concatenated."""
    return [
        {name: join([part[name] for part in batch]) for name in batch[0]}
        for batch in zip(*parts, strict=True)
    ]


def join(rows: list) -> list | np.ndarray:
    return sum(rows, []) if isinstance(rows[0], list) else np.concatenate(rows)


def stored(loaders: list) -> dict:
    """The merged state, as restored from a checkpoint."""
    states = [json.loads(json.dumps(source.get_state())) for source in loaders]
    return json.loads(json.dumps(type(loaders[0]).merge_states(states)))


def restore(loaders: list, state: dict) -> list:
    for source in loaders:
        source.set_state(state)
    return loaders


@pytest.mark.parametrize(
    ("shares", "settings", "count"),
    [(2, {"threads": 3}, 8), (4, {"shuffle": False}, 8), (2, {"workers": 1}, 4)],
)
def test_shares_together_are_one_process_row_for_row(shared, shares, settings, count):
    """Also across the ends of epochs, which are within batches."""
    expected = take(shared(loader, items(), 1, **settings | {"workers": 0})[0], count)
    ours = taken(shared(loader, items(), shares, **settings), count)
    assert all(len(batch["valid"]) == B // shares for part in ours for batch in part)
    assert_same(joined(ours), expected)


def test_an_unreadable_video_affects_no_other_share(shared):
    """Of eight items in order, a share gets the same four in every epoch."""
    good = taken(shared(loader, items()[:8], shuffle=False), 5)
    loaders = shared(loader, items((2,))[:8], shuffle=False)
    ours = taken(loaders, 5)
    assert_same(ours[0], good[0])
    assert [numbers(batch) for batch in ours[1]] == [[3, 6], [7, 3], [6, 7], [3, 6], [7, 3]]
    assert all(batch["valid"].all() for batch in ours[1])
    assert [source.bad_videos for source in loaders] == [0, 1]


def test_a_share_without_any_readable_video_ends_in_an_error(shared):
    first, second = shared(loader, items((2, 3, 6, 7))[:8], shuffle=False)
    assert numbers(take(first, 3)[2]) == [0, 1]
    with pytest.raises(UserError, match="none of 15 videos in a row of share 1 of 2 can be read"):
        next(second)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ((), ([[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], []])),
        ((2,), ([[0, 1], [4, 5], [8, 9]], [[3, 6], [7], []])),
        ((0, 1, 9), ([[4, 5], [8], []], [[2, 3], [6, 7], []])),
        (tuple(range(N)), ([[], [], []], [[], [], []])),
    ],
)
def test_evaluation_has_equally_many_batches_in_all_shares(shared, bad, expected):
    loaders = shared(evaluation, items(bad))
    seen = [list(source) for source in loaders]
    assert [[numbers(batch) for batch in part] for part in seen] == list(expected)
    for batch in sum(seen, []):
        count = len(batch["items"])
        assert batch["valid"].tolist() == [row < count for row in range(ROWS)]
        for name in batch.keys() - {"items", "valid"}:
            fill = batch[name][count - 1] if count else np.zeros_like(batch[name][0])
            for row in batch[name][count:]:
                np.testing.assert_array_equal(row, fill)
    assert [next(source, None) for source in loaders] == [None, None]


@pytest.mark.parametrize(
    ("total", "bad", "count"), [(9, (), 3), (8, (), 2), (1, (), 1), (1, (0,), 1)]
)
def test_evaluation_with_one_row_per_share(shared, total, bad, count):
    seen = [list(source) for source in shared(evaluation, items(bad)[:total], shares=B)]
    assert [len(part) for part in seen] == [count] * B
    valid = sum((numbers(batch) for batch in joined(seen)), [])
    assert valid == [number for number in range(total) if number not in bad]


def test_evaluation_raises_under_that_policy(shared):
    first, second = shared(evaluation, items((2,)), bad_video="raise")
    assert len(list(first)) == 3
    with pytest.raises(UserError, match="unreadable video"):
        next(second)


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_resuming_with_the_same_shares_is_exact(shared, stop):
    """Shares that have met different numbers of bad videos are at different positions."""
    loaders = shared(loader, items(BAD))
    taken(loaders, stop)
    state, own = stored(loaders), [source.get_state() for source in loaders]
    assert state["bad_videos"] == sorted(set().union(*(part["bad_videos"] for part in own)))
    expected = taken(loaders, 4)
    for states in ([state] * P, own):
        resumed = shared(loader, items(BAD))
        taken(resumed, 1)  # they may have been used before
        for source, saved in zip(resumed, states, strict=True):
            source.set_state(saved)
        assert_same(joined(taken(resumed, 4)), joined(expected))
        assert stored(resumed)["positions"] == stored(loaders)["positions"]


@pytest.mark.parametrize("stop", range(4))
def test_evaluation_resumes_with_the_batches_that_are_due(shared, stop):
    loaders = shared(evaluation, items((2, 3, 6)))
    taken(loaders, stop)
    resumed = restore(shared(evaluation, items((2, 3, 6))), stored(loaders))
    rest = joined([list(source) for source in loaders])
    assert len(rest) == 3 - stop
    assert_same(joined([list(source) for source in resumed]), rest)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (2, 4), (4, 2), (1, 2)])
def test_resuming_with_other_shares_continues_at_the_next_batch(shared, before, after):
    expected = take(shared(loader, items(), 1)[0], 6)[3:]
    loaders = shared(loader, items(), before)
    taken(loaders, 3)
    resumed = restore(shared(loader, items(), after), stored(loaders))
    assert_same(joined(taken(resumed, 3)), expected)


@pytest.mark.parametrize(
    ("shares", "batch_size", "positions"),
    [(1, B, [12]), (4, B, [3] * 4), (2, 3 * B, [6] * 2), (2, 2 * B, [8] * 2)],
)
def test_other_shares_resume_after_all_begun_batches(shared, folder, shares, batch_size, positions):
    """Share 1 has met item 2 and so begun the third batch, which is left out."""
    data = items((2,))
    loaders = shared(loader, data, shuffle=False)
    taken(loaders, 2)
    assert stored(loaders)["positions"] == [4, 5]
    resumed = shared(loader, data, shares, shuffle=False, batch_size=batch_size)
    state = stored(restore(resumed, stored(loaders)))
    assert state.get("positions", [state.get("position")]) == positions
    assert state["bad_videos"] == [f"{folder}/damaged.mp4"]


def test_several_processes_read_the_state_of_one(shared, folder):
    data = items((2,))
    (single,) = shared(loader, data, 1, shuffle=False)
    take(single, 2)
    state = single.get_state()
    assert Loader.merge_states([state]) == state == {
        "seed": 1, "shuffle": False, "items": N, "position": 9,
        "bad_videos": [f"{folder}/damaged.mp4"],
    }  # fmt: skip
    assert stored(restore(shared(loader, data, 1, shuffle=False), state)) == state
    resumed = restore(shared(loader, data, shuffle=False), state)
    assert stored(resumed)["positions"] == [6, 6]
    assert [numbers(batch) for (batch,) in taken(resumed, 1)] == [[3, 6], [4, 5]]


def test_mismatched_states_are_refused(shared, folder):
    loaders = shared(loader, items())
    first, second = (source.get_state() for source in loaders)
    for states in ([first], [second, first], [first, second, second], [first, first]):
        with pytest.raises(ValueError, match="not those of"):
            Loader.merge_states(states)
    next(loaders[0])
    with pytest.raises(ValueError, match="after the same batch"):
        Loader.merge_states([loaders[0].get_state(), second])
    with pytest.raises(ValueError, match="not the state of share 0"):
        loaders[0].set_state(second)
    with pytest.raises(ValueError, match="merge_states"):
        loader(folder).set_state(second)
    with pytest.raises(UserError, match="seed=1"):
        loader(folder, seed=2).set_state(Loader.merge_states([first, second]))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"shares": 3}, "batch_size is 4, .*must be a multiple of 3"),
        ({"share": 2, "shares": 2}, r"share is 2; it must be in \[0, 2\)"),
        ({"share": -1, "shares": 2}, r"share is -1; it must be in \[0, 2\)"),
        ({"share": 1}, r"share is 1; it must be in \[0, 1\)"),
        ({"shares": 0}, "shares is 0; it must be at least 1"),
        ({"shares": 2, "epochs": 1}, "leave epochs out or set pad_last"),
    ],
)
def test_bad_shares_are_refused(folder, settings, named):
    with pytest.raises(UserError, match=named):
        loader(folder, **settings)


@pytest.mark.parametrize("after", [1, 2, 4])
@pytest.mark.parametrize("stop", [1, 3])
def test_phases_of_shares_resume_together(shared, stop, after):
    (single,) = shared(curriculum, items(), 1)
    expected = take(single, stop + 3)
    loaders = shared(curriculum, items())
    assert_same(joined(taken(loaders, stop)), expected[:stop])
    resumed = restore(shared(curriculum, items(), after), stored(loaders))
    assert_same(joined(taken(resumed, 3)), expected[stop:])
    assert Curriculum.merge_states([single.get_state()]) == single.get_state()


def test_phases_of_another_batch_are_refused(shared):
    first, second = shared(curriculum, items())
    next(first)
    with pytest.raises(ValueError, match="after the same batch"):
        Curriculum.merge_states([first.get_state(), second.get_state()])
