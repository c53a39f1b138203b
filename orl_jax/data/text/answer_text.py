"""When two answers count as the same: one definition for Oracles and evaluation."""

import re
import unicodedata
from collections.abc import Sequence

# Apostrophes are dropped, a typographic minus becomes a minus, a per cent sign a word.
_VARIANTS = str.maketrans({"'": "", "\u2019": "", "\u02bc": "", "\u2212": "-", "%": " percent "})
_NOT_WORD = re.compile(r"[^\w\s]|_")


def normalise(text: str) -> str:
    """Text without case, punctuation and extra white space.

    Apostrophes are dropped ("don't" becomes "dont"); other punctuation separates words. What
    belongs to a number stays: a sign, a decimal point, the colon of a time. Articles stay, as
    matches are meant to be exact.

    Example: `normalise(" The Circle moves  UP. ") == "the circle moves up"`.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFKC", text).translate(_VARIANTS)
    return " ".join(_NOT_WORD.sub(_replacement, text).split())


def is_correct(response: str, reference: str, paraphrases: Sequence[str] = ()) -> bool:
    """Whether a response equals the reference or an accepted paraphrase, up to `normalise`.

    An answer without words is never correct.

    Example: `is_correct("it is red", "The circle is red.", ["It is red."])`.
    """
    said = normalise(response)
    return bool(said) and said in {normalise(text) for text in (reference, *paraphrases)}


def _replacement(match: re.Match[str]) -> str:
    """A space for punctuation; the mark itself in a number, or if it is a symbol or an accent."""
    mark, text, at = match.group(), match.string, match.start()
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if mark == "-":
        keep = not before.isalnum() and after.isdigit()
    elif mark in ".,:":
        keep = before.isdigit() and after.isdigit()
    else:
        keep = not unicodedata.category(mark).startswith("P")
    return mark if keep else " "
