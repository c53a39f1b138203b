"""What counts of a judge's reply: its last JSON object that has this call's check, or nothing.

The answers that are judged are data, and may hold `{"pred": "yes", "score": 5}`, which a judge may
quote. So every call draws a check, *after* the texts are known and absent from them, and an object
counts only with it, without other keys, and with each key once: no answer can forge one, whether
quoted whole, in pieces or after the judge's own. The judge itself can still be swayed and write a
good verdict on a bad answer.
"""

import ast
import contextlib
import dataclasses
import math
import random
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from orl_jax.oracles.served.json_values import json_values, once_each

LIMIT = 200_000  # characters of a reply that are looked at
BEST = 5  # scores are 0 to 5
_LETTERS, _DIGITS = "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789"  # without those that look alike
_SOURCE = "<reply>"
# Python warns of odd literals, such as 1x, in what it parses.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=_SOURCE)
_FLAT = re.compile(r"\{[^{}]*\}")
_DICTIONARIES = 20  # the last ones are read
_NO_DICTIONARY = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


class VerdictError(ValueError):
    """A reply without a verdict; the message says why, in a few fixed words before a colon."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One reply, read.

    Attributes:
      score: 0 to 5.
      pred: "yes" or "no"; "" where none is asked for.
      truncated: the score was not a whole number and lost its fraction, as in the official scripts.
    """

    score: int
    pred: str = ""
    truncated: bool = False


def draw_check(texts: Sequence[str], rng: random.Random) -> str:
    """Eight letters and digits that occur in no text, by either case.

    Example: `draw_check(["What?", "A dog"], random.Random(0))`.
    """
    read = "\n".join(texts).upper()
    while True:
        check = "".join(rng.choice(_LETTERS) + rng.choice(_DIGITS) for _ in range(4))
        if check not in read:
            return check


def verdict_format(check: str, has_pred: bool) -> dict[str, Any]:
    """The reply's JSON schema, as `response_format` of servers that have it."""
    kinds: dict[str, Any] = {"check": {"type": "string", "enum": [check]}}
    if has_pred:
        kinds["pred"] = {"type": "string", "enum": ["yes", "no"]}
    kinds["score"] = {"type": "integer", "enum": list(range(BEST + 1))}
    body = {"type": "object", "properties": kinds, "required": list(kinds)}
    schema = {**body, "additionalProperties": False}
    return {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": schema},
    }


def read_verdict(text: str, check: str, has_pred: bool) -> Verdict:
    """The last object with the check in a reply, be it JSON or a Python dictionary.

    A score may be a number or a text of one; its fraction is cut off, as by the official `int`.
    `pred` must be yes or no, in any case; the official scripts look for "yes" anywhere in it.

    Raises:
      VerdictError: there is no such object, or it is not a verdict.

    Example: `read_verdict('{"check": "K7R4", "score": 4.8}', "K7R4", False)` has the score 4.
    """
    if len(text) > LIMIT:
        raise VerdictError(f"too long a reply: {len(text)} characters")
    for value in _objects(text):
        if isinstance(value, dict) and value.get("check") == check:
            return _checked(value, has_pred)
    raise VerdictError(f"no verdict with the check: {text!r:.80}")


def _objects(text: str) -> Iterator[Any]:
    """JSON values, the last one first, then Python dictionaries."""
    yield from reversed(json_values(text))
    for match in reversed(_FLAT.findall(text)[-_DICTIONARIES:]):
        # As the official scripts read replies; the constants of JSON are no Python.
        with contextlib.suppress(*_NO_DICTIONARY):
            tree = ast.parse(match, _SOURCE, mode="eval").body
            if isinstance(tree, ast.Dict) and None not in tree.keys:
                keys, values = map(ast.literal_eval, tree.keys), map(ast.literal_eval, tree.values)
                yield once_each(list(zip(keys, values, strict=True)))


def _checked(value: dict[str, Any], has_pred: bool) -> Verdict:
    names = {"check", "score"} | ({"pred"} if has_pred else set())
    if set(value) != names:
        keys = ", ".join(sorted(map(str, value)))
        raise VerdictError(f"other keys than asked for: {keys:.80}")
    score = _score(value["score"])
    pred = str(value.get("pred", "")).strip(" .!\"'").lower()
    if has_pred and pred not in ("yes", "no"):
        raise VerdictError(f"neither yes nor no: {pred!r:.40}")
    return Verdict(int(score), pred, score != int(score))


def _score(said: Any) -> float:
    try:
        score = float("nan" if isinstance(said, bool) else said)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not 0 <= score <= BEST:
        raise VerdictError(f"no score from 0 to {BEST}: {said!r:.40}")
    return score
