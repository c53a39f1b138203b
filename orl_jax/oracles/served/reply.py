"""What counts of a served model's reply: an order that names every label exactly once.

Servers with structured output return only JSON. Others wrap it in prose, in fences, or write
"K7R4 > M2Q9 = B5T3"; so the last part of a reply that is a whole order is taken. As no answer can
hold a label (see `prompt`), a reply cannot be quoted from one.

A sentence that names a label may condemn it ("K7R4 is wrong"). So prose only counts if it has no
other words than those that choose.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from orl_jax.oracles.served.json_values import json_values

# Beside one label: words of a choice, of which one that praises must occur, or no words at all.
_PRAISE = frozenset("best better right correct prefer choose pick".split())
_CHOICE = _PRAISE | frozenset(
    "a an the i is it my of one two both label answer choice option reply response result final "
    "first second would say so therefore which more".split()
)
_TIE = frozenset("equally equal good".split())  # also, beside the label of a tie
# In a line with an order these turn it round, or deny it.
_DENIAL = re.compile(
    r"\b(not|no|never|neither|nor|wrong|wrongly|incorrect|incorrectly|false|bad|worse|worst|reverse|"
    r"reversed|opposite|instead|rather|unlike|contrary|except|if|ascending|inverted)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_BEST_FIRST = re.compile(r"best\b.{0,20}\bworst", re.IGNORECASE)  # denies nothing
_LINE = 10_000  # characters of a line of prose that are looked at
LIMIT = 200_000  # characters of a reply that are looked at; longer ones are refused


class ReplyError(ValueError):
    """A reply without an order; the message says why, in a few fixed words before a colon."""


def parse(text: Any, labels: Sequence[str]) -> list[list[int]]:
    """The order in a reply, best first: places of `labels`, tied ones together.

    Raises:
      ReplyError: there is none that names every label exactly once.

    Example: `parse('{"ranking": [["B"], ["A", "C"]]}', ["A", "B", "C"]) == [[1], [0, 2]]`.
    """
    text = _text(text)
    first: ReplyError | None = None
    for order in _orders(text, labels):
        try:
            return _checked(order, labels)
        except ReplyError as error:
            first = first or error
    raise first or ReplyError(f"no order in the reply: {text!r:.80}")


def parse_pair(text: Any, labels: Sequence[str]) -> list[list[int]]:
    """The order in a reply about two answers, `{"best": label}`, or one that `parse` reads.

    Weak models write prose: without either, a reply that names only one label means that one if it
    is nothing but a choice ("The second, M2Q9, is right."); see the module.

    Args:
      labels: of the two answers, and the one that says that they are equally good.

    Raises:
      ReplyError: there is none.

    Example: `parse_pair('{"best": "B"}', ["A", "B", "T"]) == [[1], [0]]`, of "T" `[[0, 1]]`.
    """
    found = [value["best"] for value in json_values(_text(text)) if _names_best(value)]
    chosen = None if found else _chosen(text, labels)
    if not found and chosen is None:
        return parse(text, labels[:2])
    best = _label(found[-1] if found else chosen)
    if best not in labels:
        raise ReplyError(f"unknown labels: {best[:80]}")
    return ([[0], [1]], [[1], [0]], [[0, 1]])[labels.index(best)]


def _names_best(value: Any) -> bool:
    return isinstance(value, dict) and "best" in value


def _chosen(text: str, labels: Sequence[str]) -> str | None:
    """The only label that a text names, if the text does nothing but choose it."""
    words = re.findall(r"[^\W_]+", text.lower())
    named = [label for label in labels if label.lower() in words]
    if len(named) != 1 or "?" in text or len(words) > 40:
        return None
    others = [word for word in words if word != named[0].lower()]
    if named == [labels[-1]]:
        others = [word for word in others if word not in _TIE]
    plain = set(others) <= _CHOICE and "second best" not in " ".join(others)
    if not plain or (set(others) - {"answer", "label", "both"} and not set(others) & _PRAISE):
        return None
    return named[0]


def _orders(text: str, labels: Sequence[str]) -> Iterator[Any]:
    """What may be an order, the last one first."""
    yield from reversed(json_values(text))
    label = "(?:" + "|".join(map(re.escape, labels)) + ")"
    between = r"[-\s`'\"*.,()\[\]]*"
    chain = re.compile(
        f"{label}(?:{between}[>=]+{between}{label}){{{len(labels) - 1},}}", re.IGNORECASE
    )
    marks = re.compile(f"{label}|[>=]", re.IGNORECASE)
    lines = [line for line in text.splitlines() if line.strip()]
    for place, line in reversed(list(enumerate(lines))):
        if (">" in line or "=" in line) and len(line) <= _LINE and not _denied(lines, place):
            for found in reversed(chain.findall(line)):
                yield _tiers(marks.findall(found))


def _denied(lines: Sequence[str], place: int) -> bool:
    """Whether a line, or one before it that ends with a colon, says that its order is not meant."""
    said = lines[place]
    if place and lines[place - 1].rstrip().endswith(":"):
        said = f"{lines[place - 1][-_LINE:]} {said}"
    return bool(_DENIAL.search(_BEST_FIRST.sub("", said)))


def _text(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ReplyError(f"empty reply: {text!r:.40}")
    if len(text) > LIMIT:
        raise ReplyError(f"too long a reply: {len(text)} characters")
    return text


def _tiers(marks: Sequence[str]) -> list[list[str]]:
    """Labels between signs: "a > b = c" is [[a], [b, c]]."""
    tiers: list[list[str]] = [[]]
    for mark in marks:
        if mark == ">":
            tiers.append([])
        elif mark != "=":
            tiers[-1].append(mark)
    return tiers


def _checked(order: Any, labels: Sequence[str]) -> list[list[int]]:
    if isinstance(order, dict):
        order = order.get("ranking")
    if not isinstance(order, list):
        raise ReplyError(f"no order in the reply: {order!r:.80}")
    tiers = [tier if isinstance(tier, list) else [tier] for tier in order]
    tiers = [[_label(name) for name in tier] for tier in tiers if tier]
    named = [name for tier in tiers for name in tier]
    if unknown := sorted(set(named) - set(labels)):
        raise ReplyError(f"unknown labels: {', '.join(unknown)[:80]}")
    if len(named) > len(set(named)):
        raise ReplyError("labels named more than once")
    if missing := sorted(set(labels) - set(named)):
        raise ReplyError(f"missing labels: {len(missing)} of {len(labels)}")
    return [[labels.index(name) for name in tier] for tier in tiers]


def _label(name: Any) -> str:
    if not isinstance(name, str):
        raise ReplyError(f"not a label: {name!r:.40}")
    return name.strip(" \t\"'`*.()").upper()
