"""Files of a run: written atomically, or as a journal of JSON lines that survives a kill."""

import contextlib
import json
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Any, Self

Entry = dict[str, Any]


def write_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 text to a temporary file, then renames it to `path`; makes the folder.

    Raises:
      OSError: the folder can't be made or written to; what was at `path` is unchanged.

    Example: `write_atomic("runs/demo/results.json", "{}")`.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class Journal:
    """Entries by key, on the disk from the moment they are added; safe for threads.

    A killed run resumes from it: a line that the kill cut off is skipped, and its question is asked
    again.

    Args:
      path: made where missing, with its folder.

    Example: `Journal("judged.jsonl").add({"key": "a", "score": 3})`.
    """

    def __init__(self, path: str | pathlib.Path) -> None:
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        data = path.read_bytes() if path.exists() else b""
        for line in data.splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                entry = json.loads(line)
                self._entries[entry["key"]] = entry
        self._file = path.open("a", encoding="utf-8")
        if data and not data.endswith(b"\n"):
            self._file.write("\n")

    def get(self, key: str) -> Entry | None:
        """What was added under a key."""
        return self._entries.get(key)

    def add(self, entry: Entry) -> None:
        """Writes an entry, which has a text under "key"."""
        with self._lock:
            self._entries[entry["key"]] = entry
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
