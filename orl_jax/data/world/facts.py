"""Reads facts out of a description and counts them against those of a reference.

Only what is said counts, not how: every wording of `wording.py` states the same facts, other words
are skipped, and a fact that is stated twice counts once. The score is

    F = 2 right / (2 right + wrong + missing)

the harmonic mean of precision and recall. It does not pay to hedge: about one attribute of one
object only the first statement can be right. A second one is wrong if it is false, and earns
nothing if it is true.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from orl_jax.data.text.answer_text import normalise
from orl_jax.data.world.account import Fact, Key, in_order
from orl_jax.data.world.question import ACTION_PHRASES, NUMBERS, SIDE_PHRASES
from orl_jax.data.world.scene import COLOURS, SHAPES
from orl_jax.data.world.wording import MOMENT_PHRASES

_END = re.compile(r"[.!?;\n]+")
_PHRASES = {
    phrase: (attribute, value)
    for attribute, phrases in (
        ("place", SIDE_PHRASES), ("action", ACTION_PHRASES), ("moment", MOMENT_PHRASES),
    )
    for value, ways in phrases.items()
    for phrase in ways
}  # fmt: skip
_LATER, _EARLIER = ("then", "before", "finally", "later"), ("after",)


def _any(words: Sequence[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_PART = re.compile(
    rf"\b(?:(?P<colour>{_any(COLOURS)}) (?P<shape>{_any(SHAPES)}|object|one)"
    rf"|(?P<count>{_any(NUMBERS)}) objects?|(?P<it>it)"
    rf"|(?P<phrase>{_any(list(_PHRASES))})|(?P<link>{_any(_LATER + _EARLIER)}))\b"
)


class Tally(NamedTuple):
    """The facts of an answer against those of a reference.

    `repeated` are statements that were made before, `missing` those of the reference that the
    answer does not get right.
    """

    right: int
    wrong: int
    missing: int
    repeated: int

    @property
    def score(self) -> float:
        """In [0, 1]; 1 where all facts are right and none is missing.

        Example: `Tally(right=3, wrong=1, missing=1, repeated=0).score == 0.75`.
        """
        return 2 * self.right / max(2 * self.right + self.wrong + self.missing, 1)


def tally(said: Sequence[Fact], reference: Mapping[Key, str]) -> Tally:
    """Counts statements, in the order in which they were made.

    Example: for red's action "up", the statements "up", "up" and "down" give
    `Tally(right=1, wrong=1, missing=0, repeated=1)`.
    """
    right = wrong = repeated = 0
    seen: set[Fact] = set()
    tried: set[Key] = set()
    for key, value in said:
        if (key, value) in seen:
            repeated += 1
        elif reference.get(key) != value:
            wrong += 1
        else:
            right += key not in tried
        seen.add((key, value))
        tried.add(key)
    return Tally(right, wrong, len(reference) - right, repeated)


def compare(answer: str, reference: str) -> Tally:
    """The facts of an answer against those of the reference answer.

    Example: `compare("A red circle.", "The red circle moves up.")` is (1, 0, 1, 0).
    """
    return tally(statements(answer), dict(reversed(statements(reference))))


def statements(text: str) -> list[Fact]:
    """The facts that a text states, in its order, with repetitions.

    Example: `statements("On the left, a red circle goes up.")` has the shape, the place and the
    action of "red".
    """
    found: list[Fact] = []
    subject = ""
    for sentence in _END.split(text):
        subject = _read(normalise(sentence), subject, found)
    return found


def _read(sentence: str, subject: str, found: list[Fact]) -> str:
    """Adds what a sentence states; returns whom the next one means by "it"."""
    parts = list(_PART.finditer(sentence))
    waiting: list[tuple[str, str]] = []  # said before the sentence names its subject
    named = not any(part["colour"] or part["it"] for part in parts)
    for part in parts:
        if part["count"]:
            found.append((("", "count"), part["count"]))
        elif part["phrase"]:
            waiting.append(_PHRASES[part["phrase"]])
        elif part["it"]:
            named = True
        elif part["colour"]:
            subject, named = part["colour"], True
            if part["shape"] in SHAPES:
                found.append(((subject, "shape"), part["shape"]))
        if named and subject:
            found += [((subject, attribute), value) for attribute, value in waiting]
            waiting.clear()
    found += _orders(parts)
    return subject


def _orders(parts: Sequence[re.Match[str]]) -> Iterator[Fact]:
    """Who comes before whom in a sentence: linked by "then", "before" and so on, or by "after"."""
    before: list[str] = []
    link = ""
    for part in parts:
        if part["link"]:
            link = part["link"]
        if colour := part["colour"]:
            for other in before if link else ():
                yield from in_order([colour, other] if link in _EARLIER else [other, colour])
            before.append(colour)
            link = ""
