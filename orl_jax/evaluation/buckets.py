"""Groups questions by the length of their prompts, to save padding."""

from collections.abc import Sequence
from typing import NamedTuple

SHORTEST = 16  # tokens of text
WORTH = 8  # least saving, in batches of prompts; below it, padding is cheaper than compiling


class Bucket(NamedTuple):
    """Items whose prompts are padded to one length, in the order in which they are asked."""

    length: int
    places: list[int]


def buckets(
    sizes: Sequence[int], videos: Sequence[str], *, visual: int, limit: int, batch_size: int
) -> list[Bucket]:
    """Puts every item in one bucket; lengths of text double from bucket to bucket.

    A bucket that would save little padding is merged into the next longer one, as every bucket
    costs a compilation, and a video with questions in two buckets is encoded in both. Within a
    bucket, items about one video are adjacent, so that a batch encodes each video once.

    Args:
      sizes: tokens of each prompt, visual tokens included.
      videos: the video of each item.
      visual: tokens of a video.
      limit: the longest length.
      batch_size: items per batch.

    Example: `buckets([20, 40], "ab", visual=8, limit=40, batch_size=64)` is one bucket of 40.
    """
    first: dict[str, int] = {}
    for place, video in enumerate(videos):
        first.setdefault(video, place)
    order = sorted(range(len(sizes)), key=lambda place: (first[videos[place]], place))
    found: list[Bucket] = []
    waiting: list[int] = []
    lengths = _lengths(max(sizes, default=0), visual, limit)
    for shorter, length, longer in zip([0, *lengths], lengths, [*lengths[1:], 0], strict=False):
        waiting += [place for place in order if shorter < sizes[place] <= length]
        saved = len(waiting) * (longer - length)  # tokens
        if saved >= WORTH * batch_size * longer if longer else waiting:
            found.append(Bucket(length, _together(waiting, order)))
            waiting = []
    return found


def _lengths(longest: int, visual: int, limit: int) -> list[int]:
    """Lengths with doubling text, up to the first that fits the longest prompt."""
    lengths, text = [], SHORTEST
    while not lengths or lengths[-1] < longest:
        lengths.append(min(visual + text, limit))
        text *= 2
    return lengths


def _together(places: Sequence[int], order: Sequence[int]) -> list[int]:
    chosen = set(places)
    return [place for place in order if place in chosen]
