"""Prompts of similar length together, and questions about one video adjacent."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orl_jax.evaluation.buckets import WORTH, buckets


def test_lengths_double_and_small_savings_join_the_next():
    # 8 visual tokens: lengths 24, 40, 72. Twenty prompts of 24 instead of 40 tokens save 320
    # tokens, just eight prompts of 40; three of 40 instead of 72 save 96.
    sizes = [20] * 20 + [30] * 3 + [50] * 8
    found = buckets(sizes, [str(i) for i in range(31)], visual=8, limit=72, batch_size=1)
    assert [(bucket.length, len(bucket.places)) for bucket in found] == [(24, 20), (72, 11)]
    assert found[1].places == list(range(20, 31))
    one_less = buckets(sizes[1:], [str(i) for i in range(30)], visual=8, limit=72, batch_size=1)
    assert [(bucket.length, len(bucket.places)) for bucket in one_less] == [(40, 22), (72, 8)]


def test_the_limit_cuts_the_longest():
    found = buckets([39, 30], "ab", visual=8, limit=40, batch_size=64)
    assert [tuple(bucket) for bucket in found] == [(40, [0, 1])]
    assert buckets([], [], visual=8, limit=40, batch_size=64) == []


def test_one_video_is_seen_in_one_batch():
    (found,) = buckets([9] * 6, "abcabc", visual=8, limit=40, batch_size=64)
    assert found.places == [0, 3, 1, 4, 2, 5]


@given(
    st.lists(st.tuples(st.integers(9, 300), st.sampled_from("abcdef")), max_size=60),
    st.integers(1, 4),
)
def test_every_item_is_asked_once_in_a_prompt_that_holds_it(items, batch_size):
    sizes, videos = [size for size, _ in items], [video for _, video in items]
    found = buckets(sizes, videos, visual=8, limit=300, batch_size=batch_size)
    assert sorted(place for bucket in found for place in bucket.places) == list(range(len(items)))
    assert all(sizes[place] <= bucket.length <= 300 for bucket in found for place in bucket.places)
    assert all(
        len(here.places) * (after.length - here.length) >= WORTH * batch_size * after.length
        for here, after in pairwise(found)
    )
    for bucket in found:
        seen = [videos[place] for place in bucket.places]
        assert len({*zip(seen, seen[1:], strict=False)} - {(v, v) for v in videos}) == (
            max(len(set(seen)) - 1, 0)
        )  # no video is split
