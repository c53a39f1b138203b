"""A rule of the configuration: one key's limit, and the usual kinds of limits."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """One key's limit: as a predicate, in words, and a value that keeps it."""

    key: str
    holds: Callable[[Any], bool]
    limit: str
    example: Any
    names: tuple[str, ...] = ()


def at_least(key: str, low: float, example: Any, why: str = "") -> Rule:
    """The value is finite and not below `low`."""
    return Rule(key, lambda v: math.isfinite(v) and v >= low, f"at least {low}{why}", example)


def above(key: str, low: float, example: Any) -> Rule:
    """The value is finite and greater than `low`."""
    return Rule(key, lambda v: math.isfinite(v) and v > low, f"greater than {low}", example)


def between(key: str, low: int, high: int, example: int) -> Rule:
    """The value is an integer, neither below `low` nor above `high`."""
    return Rule(key, lambda v: low <= v <= high, f"from {low} to {high}", example)


def seed(key: str) -> Rule:
    """The value starts a generator of random numbers: an integer of 32 bits."""
    return Rule(key, lambda v: 0 <= v < 2**32, "at least 0 and below 2**32", 0)


def text(key: str, example: str = "") -> Rule:
    """The value is a text, which may be empty."""
    return Rule(key, lambda v: isinstance(v, str), "a text", example)


def flag(key: str, example: bool) -> Rule:
    """The value is true or false."""
    return Rule(key, lambda v: isinstance(v, bool), "True or False", example)


def fraction(key: str, example: float) -> Rule:
    """The value lies in [0, 1]."""
    return Rule(key, lambda v: 0 <= v <= 1, "between 0 and 1", example)


def one_of(key: str, names: tuple[str, ...]) -> Rule:
    """The value is one of the names."""
    return Rule(key, lambda v: v in names, f"one of {', '.join(names)}", names[0], names)


def some_of(key: str, names: tuple[str, ...]) -> Rule:
    """The value is a sequence of the names, or an empty one."""
    known = frozenset(names)
    limit = f"some of {', '.join(names)}"
    return Rule(key, lambda v: not isinstance(v, str) and known >= set(v), limit, names[:1], names)
