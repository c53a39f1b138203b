"""A person's orders in a file of JSON lines, in the schema of `orl_jax.oracles.groups`.

A line holds a group with its order (`oracle_ranks`), `ranker`, who gave it, and `seconds`, how long
the group was on the screen. A skipped group is an invalid one with a reason.

Nothing entered is ever lost: every order is one line, appended by one write and synced before the
page gets its reply. Lines are not changed. A correction is appended as a new line, and **the last
line of a group wins**, here and in the `recorded` Oracle. `close` then reduces the file to one line
per group, by atomic replacement. Only one process at a time writes a file.
"""

import json
import logging
import os
import stat
from pathlib import Path
from typing import NamedTuple

from orl_jax.oracles.groups import read_groups, to_row
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run.errors import UserError
from orl_jax.run.files import read_json_lines
from orl_jax.run.lock import Lock

_log = logging.getLogger(__name__)
_START = b'{"prompt_id": '  # of every line
Key = tuple[str, str, tuple[str, ...]]


class Entry(NamedTuple):
    """A person's ranking of a group, and for how many seconds they saw it."""

    request: RankRequest
    ranking: Ranking
    seconds: float


def key_of(request: RankRequest) -> Key:
    """The identity of a group: the prompt, its question and the answers."""
    return request.prompt_id, request.question, request.responses


class Orders:
    """The orders in a file, which stays open for more.

    Args:
      path: created with its folder where it does not exist.
      ranker: whose orders these are; a file holds those of one person.

    Attributes:
      entries: key of a group -> its last entry.

    Raises:
      UserError: the file is another person's, not a file of orders, or open in another process.

    Example: `Orders("anna.jsonl", "anna").add(request, Ranking.from_order([1, 0], 2), seconds=9)`.
    """

    def __init__(self, path: str | os.PathLike[str], ranker: str):
        # A link stays one: what it points to is written, replaced and locked.
        self.path = Path(os.path.realpath(path) if os.path.islink(path) else path)
        self.ranker = ranker
        self.entries: dict[Key, Entry] = {}
        self._lines = 0
        self._file: int | None = None
        self._lock = _lock(self.path)
        try:
            self._file, self._is_new = _open(self.path)
            self._set_aside_partial_line()
            self._read()
        except BaseException:
            self._release()
            raise

    def add(self, request: RankRequest, ranking: Ranking, seconds: float) -> None:
        """Writes an order; on return it is on disk.

        Raises:
          OSError: it could not be written (the disk is full); the file is then unchanged.
          RuntimeError: the file is closed.
        """
        if self._file is None:
            raise RuntimeError(f"{self.path} is closed")
        entry = Entry(request, ranking, round(seconds, 2))
        size = os.fstat(self._file).st_size
        try:
            _write(self._file, self._line(entry))
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)  # leave no partial line
            raise
        self.entries[key_of(request)] = entry
        self._lines += 1

    def close(self) -> None:
        """Reduces the file to one line per group and closes it.

        A file that it has made, and that has no orders, is deleted.
        """
        if self._file is None:
            return
        if self._is_new and os.fstat(self._file).st_size == 0:
            self.path.unlink(missing_ok=True)
        elif self._lines > len(self.entries):
            try:
                self._rewrite()
            except OSError as error:  # nothing is lost: the last lines still win
                _log.warning("%s keeps its corrected lines (%s)", self.path, error)
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None
        self._lock.release()

    def _rewrite(self) -> None:
        draft = self.path.with_name(self.path.name + ".tidied")
        with open(draft, "wb") as file:
            file.write(b"".join(map(self._line, self.entries.values())))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.path)

    def _line(self, entry: Entry) -> bytes:
        row = to_row(entry.request, entry.ranking)
        return (json.dumps(row | {"ranker": self.ranker, "seconds": entry.seconds}) + "\n").encode()

    def _set_aside_partial_line(self) -> None:
        """Moves a partial last line, as after a power failure, to another file."""
        content = self.path.read_bytes()
        start = content.rfind(b"\n") + 1
        if start == len(content):
            return
        try:
            json.loads(content[start:])
            _write(self._file, b"\n")
        except (ValueError, RecursionError) as error:
            if not all(line.startswith(_START[: len(line)]) for line in (content, content[start:])):
                raise UserError(
                    f"{self.path} holds something else than orders; name another --output"
                ) from error
            aside = self.path.with_name(self.path.name + ".half")
            with open(aside, "ab") as file:
                file.write(content[start:] + b"\n")
            os.ftruncate(self._file, start)
            _log.warning("%s ended in a partial line, which is now in %s", self.path, aside)

    def _read(self) -> None:
        lines = read_json_lines(self.path)
        if not lines:
            return
        for (number, row), group in zip(lines, read_groups(self.path), strict=True):
            self._check(number, row.get("ranker"), group.ranking)
            entry = Entry(*group, float(row.get("seconds") or 0))
            self.entries[key_of(group.request)] = entry
        self._lines = len(lines)

    def _check(self, number: int, ranker: object, ranking: Ranking | None) -> None:
        if ranker is None or ranking is None:
            raise UserError(
                f"{self.path}, line {number}, is not a person's order; name another --output"
            )
        if ranker != self.ranker:
            raise UserError(
                f"{self.path} holds the orders of {ranker}, not of {self.ranker}; name another "
                f"--output, or continue with --ranker={ranker}"
            )


def _lock(path: Path) -> Lock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = path.stat().st_mode if os.path.exists(path) else stat.S_IFREG
    except OSError as error:
        raise UserError(f"--output={path} cannot be used ({error.strerror})") from error
    if stat.S_ISDIR(kind):
        raise UserError(f"--output={path} is a folder; name a file, such as {path}/anna.jsonl")
    if not stat.S_ISREG(kind):
        raise UserError(f"--output={path} is not a regular file; name one, such as anna.jsonl")
    return Lock(path, "end that one or name another --output")


def _open(path: Path) -> tuple[int, bool]:
    """Opens the file for appending; and whether it was made for it."""
    try:
        try:
            return os.open(path, os.O_RDWR | os.O_APPEND), False
        except FileNotFoundError:
            made = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
            return made, True
    except OSError as error:
        raise UserError(
            f"--output={path} cannot be written to ({error.strerror}); name another file"
        ) from error


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
