"""When two answers are the same answer: one definition, for Oracles and for evaluation."""

import re
import unicodedata
from collections.abc import Sequence

# Apostrophes of all kinds vanish, a typographic minus is a minus, a per cent sign is its word.
_VARIANTS = str.maketrans({"'": "", "\u2019": "", "\u02bc": "", "\u2212": "-", "%": " percent "})
_NOT_WORD = re.compile(r"[^\w\s]|_")


def normalise(text: str) -> str:
    """Text without what does not matter in an answer: case, punctuation, runs of white space.

    Apostrophes vanish ("don't" is "dont"); other punctuation separates words. What belongs to a
    number stays: a sign, a decimal point, a colon of time. Articles stay: "exact" is meant.

    Example: `normalise(" The Circle moves  UP. ") == "the circle moves up"`.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFKC", text).translate(_VARIANTS)
    return " ".join(_NOT_WORD.sub(_replacement, text).split())


def is_correct(response: str, reference: str, paraphrases: Sequence[str] = ()) -> bool:
    """Whether a response is, up to `normalise`, the reference or an accepted paraphrase.

    An answer without a word is never correct.

    Example: `is_correct("it is red", "The circle is red.", ["It is red."])`.
    """
    said = normalise(response)
    return bool(said) and said in {normalise(text) for text in (reference, *paraphrases)}


def _replacement(match: re.Match[str]) -> str:
    """A space for punctuation; the mark itself inside a number, or if a symbol or accent."""
    mark, text, at = match.group(), match.string, match.start()
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if mark == "-":
        keep = not before.isalnum() and after.isdigit()
    elif mark in ".,:":
        keep = before.isdigit() and after.isdigit()
    else:
        keep = not unicodedata.category(mark).startswith("P")
    return mark if keep else " "
