"""What comes from outside, read by one function a kind: a file's bytes or text, JSON, its fields.

Each bounds size, depth and type, and each error says the place, the value, the limit and a remedy.
Files of JSON lines are read by `orl_jax.run.files`, configurations by `orl_jax.run.config`; both
use these.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from orl_jax.run.errors import UserError

LARGEST = 2**31  # bytes of a file that is read whole
DEEPEST = 64  # lists and objects inside each other
DIGITS = 20  # of an integer: those of 64 bits
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
_NAMES = {dict: "object", list: "list"}
_LONG_NUMBER = re.compile(rf"\d{{{DIGITS + 1}}}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_bytes(
    path: str | os.PathLike[str], remedy: str = "check the path", largest: int = LARGEST
) -> bytes:
    """The content of a regular file; never waits, as a FIFO's reader would.

    Raises:
      UserError: no such file, one that may not be read, is no file, or is larger than `largest`.

    Example: `read_bytes("runs/demo/config.json")[:1] == b"{"`.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            kind = stat.S_IFMT(os.fstat(file).st_mode)
            if kind != stat.S_IFREG:
                raise UserError(f"{path} is {_KINDS.get(kind, 'a device')}, not a file; {remedy}")
            with open(file, "rb", closefd=False) as opened:
                content = opened.read(largest + 1)
        finally:
            os.close(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:  # a NUL in the path
        raise UserError(f"{str(path)!r} cannot be read ({error}); {remedy}") from error
    if len(content) > largest:
        raise UserError(f"{path} has more than the {largest} bytes that are read; {remedy}")
    return content


def read_text(
    path: str | os.PathLike[str], remedy: str = "check the path", largest: int = LARGEST
) -> str:
    """The text of a file in UTF-8, without a byte-order mark.

    Raises:
      UserError: as `read_bytes`; not UTF-8.

    Example: `read_text("questions.txt")`.
    """
    content = read_bytes(path, remedy, largest)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); {remedy}"
        ) from error


def read_json(
    path: str | os.PathLike[str], remedy: str = "check the path", kind: type = dict
) -> Any:
    """The value of a JSON file; see `parse_json`.

    Example: `read_json("runs/demo/results.json", "run the demo again")["rl"]["accuracy"]`.
    """
    return parse_json(read_text(path, remedy), str(path), remedy, kind)


def parse_json(text: str, place: str, remedy: str = "fix it", kind: type = dict) -> Any:
    """The value of JSON from outside.

    Args:
      text: of any content.
      place: its name in errors, such as "FILE, line 3,".
      remedy: what to do, in errors.
      kind: what it must be: dict, list or object (anything).

    Raises:
      UserError: not JSON, not of that kind, deeper than `DEEPEST`, with an integer of more than
        `DIGITS` digits, or with text that UTF-8 cannot encode (half of a surrogate pair).

    Example: `parse_json('{"n": 1}', "results.json") == {"n": 1}`.
    """
    try:
        value = _loads(text)
    except json.JSONDecodeError as error:
        where = f" in line {error.lineno}" if error.lineno > 1 else ""
        near = _one_line(text[max(error.pos - 30, 0) :])
        raise UserError(f"{place} is not JSON ({error.msg}{where}): {near}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "nested too deep"
        raise UserError(f"{place} is not JSON ({reason}): {_one_line(text)}; {remedy}") from None
    if not isinstance(value, kind):
        raise UserError(f"{place} is not a JSON {_NAMES[kind]}: {_one_line(text)}; {remedy}")
    return value


def _one_line(text: str) -> str:
    return " ".join(text[:40].split())


def _loads(text: str) -> Any:
    """`json.loads` within our bounds. Raises ValueError, RecursionError."""
    # The searches cost little; walking through every value would cost as much as parsing it.
    value = json.loads(text, parse_int=_integer if _LONG_NUMBER.search(text) else None)
    if text.count("[") + text.count("{") > DEEPEST or _SURROGATE.search(text):
        _check(value)
    return value


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits, at most {DIGITS} are read")
    return int(digits)


def _check(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} deep")
        level = list(_inner(level))


def _inner(level: list[Any]) -> Iterator[Any]:
    """What the lists and objects of a level hold; texts are checked on the way."""
    for value in level:
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, list):
            yield from value
        elif isinstance(value, dict):
            yield from value
            yield from value.values()


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise ValueError(f"half of a surrogate pair, {half}, is not text") from None


def texts(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A field that is a list of texts; missing or null is none.

    Raises:
      ValueError: anything else: a text alone would be read as its letters.

    Example: `texts({"paraphrases": ["Yes"]}, "paraphrases") == ("Yes",)`.
    """
    value = row.get(name)
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError(f'{name} must be a list of strings such as ["Yes"], not {value!r:.40}')
    return tuple(value)


def text(row: Mapping[str, Any], name: str, default: str | None = None) -> str | None:
    """A field that is a text; missing or null is the default.

    Raises:
      ValueError: anything else.

    Example: `text({"question": "Red?"}, "question") == "Red?"`.
    """
    value = row.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {value!r:.40}")
    return value
