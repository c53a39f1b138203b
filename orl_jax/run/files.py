"""Files of a run: JSON and JSON lines, written atomically, or a journal that survives a kill."""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from orl_jax.run.disk import naming
from orl_jax.run.errors import UserError
from orl_jax.run.reading import parse_json, read_bytes, read_text

_log = logging.getLogger(__name__)
_SEAL = "seal"
Entry = dict[str, Any]


class Line(NamedTuple):
    """A line of a file of JSON lines: its number, from 1, and its object."""

    number: int
    row: Entry


def write_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 text to a temporary file, then renames it to `path`; makes the folder.

    Raises:
      OSError: the folder cannot be made or written to; what was at `path` is unchanged. It has the
        file's name.

    Example: `write_atomic("runs/demo/results.json", "{}")`.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            # Half of a surrogate pair, which UTF-8 cannot hold, becomes an escape.
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):  # on a read-only disk there is none
            partial.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a value as indented JSON, atomically; makes the folder.

    Example: `write_json("runs/demo/results.json", {"n": 400})`.
    """
    write_atomic(path, json.dumps(value, indent=2) + "\n")


def write_json_lines(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes an object a line, atomically; makes the folder.

    Example: `write_json_lines("pairs.jsonl", [{"id": "7"}])` writes `{"id": "7"}` and a line end.
    """
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_json_lines(path: str | os.PathLike[str], *, cut_off: bool = False) -> list[Line]:
    """The objects of a file of JSON lines, in its order; blank lines are left out.

    Args:
      path: a file in UTF-8.
      cut_off: leave out a last line without its end, which a killed run did not finish.

    Raises:
      UserError: the file is missing or not in UTF-8; a line is not a JSON object, by its number.

    Example: `[line.row["loss"] for line in read_json_lines("runs/demo/metrics.jsonl")]`.
    """
    text = read_text(path, "name a file of JSON lines")
    return parse_json_lines(text[: text.rfind("\n") + 1] if cut_off else text, str(path))


def parse_json_lines(text: str, place: str) -> list[Line]:
    """The objects of text in JSON lines; see `read_json_lines`. `place` is its name in errors."""
    # Not splitlines: strings may hold its other line ends, such as U+2028.
    lines = ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    return [
        Line(number, parse_json(line, f"{place}, line {number},", "fix or delete it"))
        for number, line in lines
    ]


def readable_json_lines(path: str | os.PathLike[str]) -> tuple[list[Entry], int]:
    """The objects of a file of JSON lines that can be read, and how many lines cannot.

    A missing file has none. For reports and journals, which make do with what is there.

    Raises:
      UserError: it may not be read, or is no file.
    """
    text = read_bytes(path).decode(errors="replace") if os.path.exists(path) else ""
    rows, unreadable = [], 0
    for line in filter(str.strip, text.split("\n")):
        try:
            rows.append(parse_json(line, ""))
        except UserError:
            unreadable += 1
    return rows, unreadable


def sealed(entry: Mapping[str, Any]) -> Entry:
    """An entry with a seal: a digest of its content, which shows whether it was changed since.

    Example: `unsealed(sealed({"key": "a"})) == {"key": "a"}`.
    """
    return {**entry, _SEAL: _digest(entry)}


def unsealed(row: Mapping[str, Any]) -> Entry | None:
    """The entry of a sealed row; None if it was changed since. Rows without a seal pass: earlier
    versions wrote none.
    """
    entry = {key: value for key, value in row.items() if key != _SEAL}
    return entry if row.get(_SEAL, None) in (None, _digest(entry)) else None


def warn_of_unsealed(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Warns of rows without a seal, with their number: they count, and nothing shows a change.

    Not asking them again is what their owner expects, who may have paid for the answers.
    """
    if count := sum(row.get(_SEAL) is None for row in rows):
        _log.warning(
            "%d lines of %s have no digest, as earlier versions wrote them: they count, and a "
            "change by hand would not show; delete them to have them made again", count, path
        )  # fmt: skip


def journal_entries(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a journal that can be believed; what is left out is counted in a warning.

    Left out are lines that are not JSON (a kill cut them off), have no text under "key", or were
    changed since they were written, by hand or by a fault of the disk. Lines without a seal count,
    and are counted in a warning of their own.
    """
    rows = [row for row in readable_json_lines(path)[0] if isinstance(row.get("key"), str)]
    entries = [unsealed(row) for row in rows]
    warn_of_unsealed(rows, path)
    if changed := sum(entry is None for entry in entries):
        _log.warning(
            "%d lines of %s were changed since they were written and do not count", changed, path
        )
    return [entry for entry in entries if entry is not None]


def _digest(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


class Journal:
    """Entries by key, on the disk from the moment they are added; safe for threads.

    A killed run resumes from it: a line that the kill cut off is skipped, and its question is asked
    again. So is one that was changed since: each line ends in a digest of its content.

    Args:
      path: made where missing, with its folder.

    Raises:
      UserError: the file cannot be made, read or written to.

    Example: `Journal("judged.jsonl").add({"key": "a", "score": 3})`.
    """

    def __init__(self, path: str | pathlib.Path) -> None:
        path = pathlib.Path(path)
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._entries = {entry["key"]: entry for entry in journal_entries(path)}
            self._file = path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UserError(
                f"{path} cannot be written to ({error.strerror}); choose another place"
            ) from error
        if _is_cut_off(path):
            self._file.write("\n")

    def get(self, key: str) -> Entry | None:
        """What was added under a key."""
        return self._entries.get(key)

    def add(self, entry: Entry) -> None:
        """Writes an entry, which has a text under "key"."""
        with self._lock:
            self._entries[entry["key"]] = entry
            with naming(self._file.name):
                self._file.write(json.dumps(sealed(entry), ensure_ascii=False) + "\n")
                self._file.flush()

    def close(self) -> None:
        """Closes the file; what a failed write left over is written then."""
        with naming(self._file.name):
            self._file.close()

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_cut_off(path: pathlib.Path) -> bool:
    """Whether the last line of a file lacks its end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        return file.read(1) not in (b"", b"\n")
