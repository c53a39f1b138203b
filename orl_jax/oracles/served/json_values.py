"""The JSON values in a reply that may also hold prose, code fences and half-written values."""

import contextlib
import json
import re
from collections.abc import Sequence
from typing import Any

_OPENING = re.compile(r"[\[{]")
_KEY = re.compile(r'"([^"]{0,40})"\s{0,9}:\s{0,9}\Z')  # before a value without its object
_FIRST = re.compile(r"\[\s*\Z|[\"\]]\Z")  # before a value within an array, or next to another
_CLOSING = re.compile(r"\s*\]")
_OPENINGS = 200  # the last ones: more than a reply needs, and few enough for hostile nesting


def json_values(text: str) -> list[Any]:
    """The JSON objects and arrays in a text, the outermost ones, in their order.

    An object with duplicate keys is rejected, and with it all that it holds or is held by: which of
    the two would count? So are the values of such a key in an object that is cut off, and values
    that stand within an array without an end or a beginning: `[["a", "b"]` begins a list of lists.

    Example: `json_values('So: {"a": 1} [2') == [{"a": 1}]`.
    """
    twice: list[bool] = []

    def pairs_hook(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
        found = dict(pairs)
        twice.extend([True] * (len(found) < len(pairs)))
        return found

    decoder = json.JSONDecoder(object_pairs_hook=pairs_hook)
    found, keys, position = [], [], 0
    for start in [match.start() for match in _OPENING.finditer(text)][-_OPENINGS:]:
        if start < position:  # inside one that was read
            continue
        twice.clear()
        with contextlib.suppress(ValueError, RecursionError):
            value, position = decoder.raw_decode(text, start)
            within = _FIRST.search(text, max(start - 9, 0), start) or _CLOSING.match(text, position)
            if not twice and not within:
                found.append(value)
                key = _KEY.search(text, max(start - 70, 0), start)
                keys.append(key and key[1])
    return [v for v, key in zip(found, keys, strict=True) if key is None or keys.count(key) == 1]


def once_each(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dictionary of pairs.

    Raises:
      ValueError: a key occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found
