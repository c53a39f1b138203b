"""Questions sorted by the length of their prompts, so that a short one is not padded to a long."""

from collections.abc import Sequence
from typing import NamedTuple

SHORTEST = 16  # tokens of text
WORTH = 8  # batches of prompts saved; for fewer, padding is cheaper than one more program


class Bucket(NamedTuple):
    """Items that are asked in prompts of one length, in the order in which they are."""

    length: int
    places: list[int]


def buckets(
    sizes: Sequence[int], videos: Sequence[str], *, visual: int, limit: int, batch_size: int
) -> list[Bucket]:
    """Every item in one bucket; the lengths of text double from bucket to bucket.

    A bucket that would save little padding joins the next longer one: it costs a program to
    compile, and a video with questions in both is seen in both. Within a bucket items of one video
    are side by side, in the order of their first: a batch then sees each video once.

    Args:
      sizes: tokens of each prompt, the visual ones included.
      videos: of each item.
      visual: tokens that a video takes.
      limit: of all lengths.
      batch_size: items.

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
    """Doubling lengths of text, up to the first that holds the longest prompt."""
    lengths, text = [], SHORTEST
    while not lengths or lengths[-1] < longest:
        lengths.append(min(visual + text, limit))
        text *= 2
    return lengths


def _together(places: Sequence[int], order: Sequence[int]) -> list[int]:
    chosen = set(places)
    return [place for place in order if place in chosen]
