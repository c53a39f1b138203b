"""What counts of a served model's reply: an order that names every label exactly once.

Servers with structured output return only JSON. Others wrap it in prose, in fences, or write
"K7R4 > M2Q9 = B5T3"; so the last part of a reply that is a whole order is taken. As no answer can
hold a label (see `prompt`), a reply cannot be quoted from one.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from orl_jax.oracles.served.json_values import json_values

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

    Weak models write prose: without either, a reply that names only one label means that one.

    Args:
      labels: of the two answers, and the one that says that they are equally good.

    Raises:
      ReplyError: there is none.

    Example: `parse_pair('{"best": "B"}', ["A", "B", "T"]) == [[1], [0]]`, of "T" `[[0, 1]]`.
    """
    found = [value["best"] for value in json_values(_text(text)) if _names_best(value)]
    named = {label for label in labels if label.lower() in text.lower()}
    if not found and len(named) != 1:
        return parse(text, labels[:2])
    best = _label(found[-1] if found else named.pop())
    if best not in labels:
        raise ReplyError(f"unknown labels: {best[:80]}")
    return ([[0], [1]], [[1], [0]], [[0, 1]])[labels.index(best)]


def _names_best(value: Any) -> bool:
    return isinstance(value, dict) and "best" in value


def _orders(text: str, labels: Sequence[str]) -> Iterator[Any]:
    """What may be an order, the last one first."""
    yield from reversed(json_values(text))
    marks = re.compile("|".join(map(re.escape, labels)) + "|[>=]", re.IGNORECASE)
    for line in reversed(text.splitlines()):
        if ">" in line or "=" in line:
            yield _tiers(marks.findall(line))


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
