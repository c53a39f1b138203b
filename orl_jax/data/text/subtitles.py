r"""Subtitles of a video (.srt), at the times of the frames that a model sees.

Video-MME's protocol with subtitles: "you should only use the subtitles corresponding to the sampled
video frames" (BradyFU/Video-MME, README). One line per cue, as in the script that it names
(look4u-ok/video-slicer). That script repeats a cue for every frame within it; here it is given
once. Of overlapping cues it takes the first in the file; here the last to begin counts.

    1
    00:00:01,000 --> 00:00:02,500
    {\an8}<i>What is said</i>
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
from orl_jax.run.reading import read_bytes

_LINE_END = re.compile(
    r"\r\n|\r|\n"
)  # str.splitlines also splits at characters that occur within a text
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[,.](\d{1,3}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
# Style tags and karaoke times. Not every "<...>", as it may be part of the text.
_TAG = re.compile(r"</?(?:i|b|u|s|c|v|font)\b[^<>]*>|<\d[\d:.,]*>|\{\\[^{}]*\}", re.IGNORECASE)


class Cue(NamedTuple):
    """A text that is shown from `start` to `end`, in seconds; one line, without tags."""

    start: float
    end: float
    text: str


def read_cues(path: str | os.PathLike[str]) -> list[Cue]:
    """The cues of an .srt file, in the order of their start.

    Cue numbers are not needed, and blank lines do not end a cue. Cues without text, or that end
    before they start, are left out.

    Args:
      path: UTF-8, with or without a byte-order mark; what is not UTF-8 is read as Latin-1.

    Returns:
      The cues; none of an empty file.

    Raises:
      UserError: the file cannot be read, or has text but no line of times.

    Example: `read_cues("clip.srt")[0] == Cue(1.0, 2.5, "What is said in two lines")`.
    """
    path = pathlib.Path(path)
    text = _decode(read_bytes(path, "put the .srt file with subtitles there"))
    lines = _LINE_END.split(text)
    starts = [number for number, line in enumerate(lines) if _TIMES.match(line)]
    if text.strip() and not starts:
        raise UserError(
            f'{path} has no line like "00:00:01,000 --> 00:00:02,500"; give an .srt file in UTF-8'
        )
    return sorted(_cues(lines, starts), key=lambda cue: cue.start)


def at_times(cues: Sequence[Cue], times: Sequence[float] | np.ndarray) -> list[str]:
    """The texts shown at the given times, each cue once.

    Args:
      cues: in any order; of several at one time, the last to begin counts.
      times: in seconds, as from `orl_jax.data.video.frame_times`.

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
    """The lines as one text; if it is too long, as many as fit, evenly spaced.

    Args:
      lines: in the order of time.
      fits: tells whether a text is short enough.

    Returns:
      The lines, joined by line ends; "" if not even one fits.

    Example: `shorten(["a", "b", "c"], lambda text: len(text) < 4)` is "a" and "c", one per line.
    """
    # One by one: more lines may have fewer tokens, as other lines are chosen.
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
