"""A response against its accepted answers: exact, normalised, token F1, and as words in it.

`squad_exact` and `token_f1` are those of SQuAD's official `evaluate-v1.1.py`: lower case, without
punctuation, then without the articles a, an, the; the best of the accepted answers counts.
"""

import collections
import re
import string
from collections.abc import Sequence

from orl_jax.data.text.answer_text import is_correct, normalise

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact(response: str, accepted: Sequence[str]) -> bool:
    """Whether a response is an accepted answer, letter by letter, apart from outer white space.

    Example: `exact("red ", ["red"])`.
    """
    return response.strip() in {text.strip() for text in accepted}


def normalised(response: str, accepted: Sequence[str]) -> bool:
    """The same up to `answer_text.normalise`: what `scripts/evaluate.py` counts.

    Example: `normalised("The circle, red.", ["the circle red"])`.
    """
    return is_correct(response, accepted[0], accepted[1:])


def squad_exact(response: str, accepted: Sequence[str]) -> bool:
    """SQuAD's exact match: equal up to case, punctuation and articles.

    Example: `squad_exact("The cat.", ["a cat"])`.
    """
    return squad_text(response) in {squad_text(text) for text in accepted}


def token_f1(response: str, accepted: Sequence[str]) -> float:
    """SQuAD's F1 of the bags of tokens: the largest over the accepted answers, in [0, 1].

    Without a common token it is 0, also for two empty texts, as in v1.1.

    Example: `token_f1("the red car", ["a red bus"]) == 0.5`.
    """
    return max(_f1(squad_text(response).split(), squad_text(text).split()) for text in accepted)


def contains_word(response: str, accepted: Sequence[str]) -> bool:
    """Whether an accepted answer occurs in the response as whole words, up to `normalise`.

    Meant for benchmarks of one-word answers; a long response may contain both "yes" and "no".

    Example: `contains_word("It is a dog.", ["dog"])` but not `contains_word("a hotdog", ["dog"])`.
    """
    said = f" {normalise(response)} "
    wanted = (normalise(text) for text in accepted)
    return any(text and f" {text} " in said for text in wanted)


def squad_text(text: str) -> str:
    """SQuAD's normal form.

    Example: `squad_text("The  U.S. team!") == "us team"`.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    common = sum((collections.Counter(said) & collections.Counter(wanted)).values())
    # 2PR / (P + R) with P = common / said and R = common / wanted.
    return 2 * common / (len(said) + len(wanted)) if common else 0.0
