"""The letter that a response to a multiple-choice question chooses, by two rules.

`official_letter` is `extract_characters_regex` of Video-MME's scoring script
(thanku-all/parse_answer, `eval_your_results.py`), bug for bug: two commas are missing in its list
of prefixes, so four of them have merged into two that nobody writes; and the first capital A, B, C
or D counts, even inside a word: "Best answer: C" is B, "A man runs, so C" is A, "(b)" is no answer.
`strict_letter` takes the letter that a reader would.
"""

import re
from collections.abc import Sequence

LETTERS = "ABCD"
# In the script's order, which matters: each is removed from what the ones before have left.
_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
    "Answer:",
    "Option:",
    "The correct answer",
    "The correct option",
)
_LONG = 10  # words
# A letter by itself: no part of a word, of "don't" or of "C-shaped". "A" before a word is an
# article, unless the word is "and" or "or".
_ALONE = re.compile(r"(?<![\w'’-])(?:A(?!\s+(?!(?:and|or)\b)\w)|[BCD])(?![\w'’-])")
_BRACKETED = re.compile(r"\(([a-d])\)")
_NAMED = re.compile(r"(?:answer|option|choice)(?:\s+is)?\s*:\s*([a-d])(?=\W*(?:$|\n))", re.I)
_ONLY = re.compile(r"\W*([a-d])\W*", re.I)


def official_letter(response: str) -> str:
    """The letter according to Video-MME's script; "" is unanswered.

    Example: `official_letter("The answer is C.") == "C"`, `official_letter("(b)") == ""`.
    """
    text = response.strip()
    for prefix in _PREFIXES:
        text = text.replace(prefix, "")
    found = re.search(f"[{LETTERS}]", text)
    if len(text.split()) > _LONG and not found:
        return ""
    return found[0] if found else ""


def strict_letter(response: str, options: Sequence[str] = ()) -> str:
    """The one letter that a response names, or whose option it quotes in full; "" is unanswered.

    A letter counts by itself ("C", "c."), in brackets ("(b)"), after "Answer:", or as a capital
    that is neither part of a word nor an article. Quoted options are looked for first, so that the
    C of "vitamin C" does not count. A letter takes precedence over a quotation; two different ones
    are no answer.

    Args:
      options: texts in the order of the letters, with or without "A. " before them.

    Example: `strict_letter("The dog runs.", ["A. A cat", "B. The dog"]) == "B"`.
    """
    if only := _ONLY.fullmatch(response):
        return only[1].upper()
    rest, quoted = _take_options(response, options)
    named = set(_ALONE.findall(rest)) | {letter.upper() for letter in _BRACKETED.findall(rest)}
    named |= {letter.upper() for letter in _NAMED.findall(rest)}
    found = named or quoted
    return found.pop() if len(found) == 1 else ""


def option_text(option: str) -> str:
    """An option without its letter.

    Example: `option_text("A. A red car.") == "A red car."`.
    """
    return re.sub(rf"^\s*\(?[{LETTERS}][.):]\s*", "", option).strip()


def _take_options(response: str, options: Sequence[str]) -> tuple[str, set[str]]:
    """The response without the options that it quotes, and their letters; longer options first."""
    texts = [re.findall(r"\w+", option_text(option).lower()) for option in options]
    quoted = set()
    for words, letter in sorted(zip(texts, LETTERS, strict=False), key=lambda pair: -len(pair[0])):
        if not words:
            continue
        text = r"\W+".join(words)
        response, count = re.subn(rf"(?<!\w){text}(?!\w)", " ; ", response, flags=re.IGNORECASE)
        if count:
            quoted.add(letter)
    return response, quoted
