"""The JSON values in a reply that may also hold prose, code fences and half-written values."""

import contextlib
import json
import re
from collections.abc import Sequence
from typing import Any

_OPENING = re.compile(r"[\[{]")
_OPENINGS = 200  # the last ones: more than a reply needs, and few enough for hostile nesting


def json_values(text: str) -> list[Any]:
    """The JSON objects and arrays in a text, the outermost ones, in their order.

    Objects with duplicate keys are rejected: which of the two would count?

    Example: `json_values('So: {"a": 1} [2') == [{"a": 1}]`.
    """
    decoder, found, position = json.JSONDecoder(object_pairs_hook=once_each), [], 0
    for start in [match.start() for match in _OPENING.finditer(text)][-_OPENINGS:]:
        if start >= position:  # else inside one that was read
            with contextlib.suppress(ValueError, RecursionError):
                value, position = decoder.raw_decode(text, start)
                found.append(value)
    return found


def once_each(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dictionary of pairs.

    Raises:
      ValueError: a key occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found
