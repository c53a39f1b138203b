"""An account of a scene in words: two to six sentences, in one of many wordings.

The random stream chooses the wording: which objects come first, which of several phrases says a
value, whether a sentence is split. `facts.py` reads the same facts out of every wording.
"""

import re
from collections.abc import Iterator

import numpy as np

from orl_jax.data.world.account import Account, Sight
from orl_jax.data.world.question import ACTION_PHRASES, SIDE_PHRASES

MOMENT_PHRASES = {
    "near the start": ("near the start", "early in the clip"),
    "halfway": ("halfway", "in the middle of the clip"),
    "near the end": ("near the end", "late in the clip"),
}
SENTENCES = (2, 6)
TOKENS = (20, 70)  # words and punctuation marks
_ATTEMPTS = 200
_TOKEN = re.compile(r"\w+|[^\w\s]")


def tell(account: Account, rng: np.random.Generator) -> list[str]:
    """The sentences of an account, together within `SENTENCES` and `TOKENS`.

    Example: `tell(account, rng)[0] == "The video shows two objects."`.
    """
    for _ in range(_ATTEMPTS):
        said = list(_sentences(account, rng))
        tokens = length(" ".join(said))
        if SENTENCES[0] <= len(said) <= SENTENCES[1] and TOKENS[0] <= tokens <= TOKENS[1]:
            return said
    raise ValueError(f"no wording of {account} has {TOKENS} tokens")


def length(text: str) -> int:
    """Words and punctuation marks: the tokens of a word tokenizer, without the end token."""
    return len(_TOKEN.findall(text))


def _sentences(account: Account, rng: np.random.Generator) -> Iterator[str]:
    yield _one_of(rng, *_count(account.count))
    for index in rng.permutation(len(account.sights)):
        yield from _object(account.sights[index], rng)
    if account.order:
        yield _order([account.sights[index] for index in account.order], rng)


def _count(count: str) -> tuple[str, ...]:
    verb, noun = ("is", "object") if count == "one" else ("are", "objects")
    return (
        f"There {verb} {count} {noun}.",
        f"The video shows {count} {noun}.",
        f"{count.capitalize()} {noun} {verb} in the video.",
    )


def _object(sight: Sight, rng: np.random.Generator) -> list[str]:
    """One or two sentences about an object."""
    name = f"{sight.colour} {sight.shape}"
    place = _one_of(rng, *SIDE_PHRASES[sight.place])
    does = _one_of(rng, *ACTION_PHRASES[sight.action])
    when = _one_of(rng, *MOMENT_PHRASES[sight.moment]) if sight.moment else ""
    form = int(rng.integers(5))
    if form == 0:
        return [f"A {name} starts {place} and {_joined(does, when)}."]
    if form == 1:
        return [f"{_capital(place)}, a {name} {_joined(does, when)}."]
    if form == 2:
        return [f"The {name} {place} {_joined(does, when)}."]
    first = f"There is a {name} {place}."
    if form == 3 or not when:
        return [first, f"It {_joined(does, when)}."]
    return [first, f"{_capital(when)}, it {does}."]


def _order(sights: list[Sight], rng: np.random.Generator) -> str:
    """Which event comes first; the shape may be left out here."""
    noun = bool(rng.integers(2))
    first, *others = (
        f"the {each.colour} {each.shape if noun else 'one'} {ACTION_PHRASES[each.action][0]}"
        for each in sights
    )
    if len(others) == 2:
        return _one_of(
            rng,
            f"First {first}, then {others[0]} and finally {others[1]}.",
            f"{_capital(first)} before {others[0]}, and later {others[1]}.",
        )
    return _one_of(
        rng,
        f"First {first}, then {others[0]}.",
        f"{_capital(first)} before {others[0]}.",
        f"{_capital(others[0])} after {first}.",
        f"{_capital(first)} and later {others[0]}.",
    )


def _joined(*words: str) -> str:
    return " ".join(filter(None, words))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _one_of(rng: np.random.Generator, *choices: str) -> str:
    return choices[int(rng.integers(len(choices)))]
