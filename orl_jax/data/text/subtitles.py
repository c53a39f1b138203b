r"""Subtitles of a video (.srt), at the times of the frames that a model sees.

Video-MME's protocol with subtitles: "you should only use the subtitles corresponding to the sampled
video frames" (BradyFU/Video-MME, README). One line a cue, as in the script that it names
(look4u-ok/video-slicer). That gives a cue again for every frame that falls into it, here it is
given once; of overlapping cues it takes the first of the file, here the last begun counts.

    1
    00:00:01,000 --> 00:00:02,500
    {\an8}<i>What one hears</i>
    in two lines
"""

import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from orl_jax.data.video import uniform_indices
from orl_jax.run.errors import UserError

_LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines also ends lines at marks within a text
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[,.](\d{1,3}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
# Marks of style and karaoke times. Not every "<...>": one may be said.
_TAG = re.compile(r"</?(?:i|b|u|s|c|v|font)\b[^<>]*>|<\d[\d:.,]*>|\{\\[^{}]*\}", re.IGNORECASE)


class Cue(NamedTuple):
    """What is shown from `start` up to `end`, in seconds; `text` is one line without tags."""

    start: float
    end: float
    text: str


def read_cues(path: str | os.PathLike[str]) -> list[Cue]:
    """The cues of an .srt file, by their start.

    Numbers of cues are not needed and blank lines within one do not end it. Cues without text, or
    that end before they start, are left out.

    Args:
      path: UTF-8, with a byte-order mark or without; what is not UTF-8 is taken for Latin-1.

    Returns:
      The cues; none of an empty file.

    Raises:
      UserError: the file can't be read, or has text and no line of times.

    Example: `read_cues("clip.srt")[0] == Cue(1.0, 2.5, "What one hears in two lines")`.
    """
    path = pathlib.Path(path)
    try:
        text = _decode(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"the subtitles {path} can't be read ({type(error).__name__}); put the .srt file there"
        ) from error
    lines = _LINE_END.split(text)
    starts = [number for number, line in enumerate(lines) if _TIMES.match(line)]
    if text.strip() and not starts:
        raise UserError(
            f'{path} has no line like "00:00:01,000 --> 00:00:02,500"; give an .srt file in UTF-8'
        )
    return sorted(_cues(lines, starts), key=lambda cue: cue.start)


def at_times(cues: Sequence[Cue], times: Sequence[float] | np.ndarray) -> list[str]:
    """What is shown at some times, each cue once; where nothing is shown there is nothing.

    Args:
      cues: in any order; of several at one time the last begun counts.
      times: in seconds, as `orl_jax.data.video.frame_times` gives them.

    Example: `at_times([Cue(0, 9, "a"), Cue(2, 3, "b")], [1, 2, 5]) == ["a", "b"]`.
    """
    shown: dict[int, str] = {}
    for time in times:
        there = [number for number, cue in enumerate(cues) if cue.start <= time < cue.end]
        if there:
            last = max(there, key=lambda number: (cues[number].start, number))
            shown.setdefault(last, cues[last].text)
    return list(shown.values())


def shorten(lines: Sequence[str], fits: Callable[[str], bool]) -> str:
    """The lines as a text; where it is too long, as many as fit, evenly spread.

    Args:
      lines: in the order of time.
      fits: whether a text is short enough.

    Returns:
      The lines with line ends between them; "" where not even one fits.

    Example: `shorten(["a", "b", "c"], lambda text: len(text) < 4)` is "a" and "c", a line each.
    """
    # One by one, as more lines may be fewer tokens: others are chosen.
    for count in range(len(lines), 0, -1):
        text = "\n".join(lines[index] for index in uniform_indices(len(lines), count))
        if fits(text):
            return text
    return ""


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _cues(lines: list[str], starts: list[int]) -> Iterator[Cue]:
    for first, after in itertools.pairwise([*starts, len(lines)]):
        said = lines[first + 1 : after]
        if after < len(lines) and said and said[-1].strip().isdecimal():
            said.pop()  # the number of the next cue
        text = " ".join(_TAG.sub("", " ".join(said)).split())
        times = _TIMES.match(lines[first])
        start, end = _seconds(*times.groups()[:4]), _seconds(*times.groups()[4:])
        if text and start < end:
            yield Cue(start, end, text)


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    whole = 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
    return whole + float(f"0.{fraction or 0}")
