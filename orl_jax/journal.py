"""What was answered, as JSON lines that are appended one by one: a killed run goes on from it.

A line that was cut off by the kill is skipped, and its question is asked again.
"""

import contextlib
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any, Self

Entry = dict[str, Any]


class Journal:
    """Entries by key, on the disk from the moment they are added; safe for threads.

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
