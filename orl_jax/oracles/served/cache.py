"""Replies on disk, keyed by what was asked: a resumed run asks nothing twice.

One SQLite file in a folder, safe for several processes, bounded in size. An Oracle's key is a hash
of the Oracle, the prompt's version, the video's bytes, the question and the *set* of answers; the
value is the ranks of the answers in a fixed order. Invalid rankings are not kept, so they are
asked for again.

The folder may come from somebody else, so nothing in it is believed: values are JSON, and each is
checked when it is read. A row that is not what it should be is dropped; a file that is not such a
database is set aside. The caches of earlier versions (`cache.db`, pickles) are never opened.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from orl_jax.run.errors import Failure, UserError

_log = logging.getLogger(__name__)
FILE = "replies.sqlite"
_EARLIER = "cache.db"  # of diskcache
_LONGEST = 4_000_000  # bytes of a row
_TABLE = "CREATE TABLE replies (key TEXT PRIMARY KEY, value TEXT NOT NULL, used INTEGER NOT NULL)"
_INDEX = "CREATE INDEX by_use ON replies (used)"
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
_BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_FORMAT")
_WAIT = 30.0  # seconds for another process that writes

Check = Callable[[Any], bool]


class DiskCache:
    """JSON values by their keys; safe for threads.

    Args:
      folder: made where missing; "" keeps nothing.
      name: of the configuration's key that names the folder, for messages.
      size_mb: 10^6 bytes; the least recently used goes first.

    Raises:
      UserError: the folder or its file cannot be opened.

    Example: `DiskCache("runs/mine/rankings", "oracle.served.cache").get(make_key("a"), bool)`.
    """

    def __init__(self, folder: str, name: str, size_mb: float = 500.0) -> None:
        self._name, self._limit = name, int(size_mb * 1e6)
        self._lock = threading.Lock()
        self._path = pathlib.Path(folder or ".") / FILE
        self._db: sqlite3.Connection | None = None
        if folder:
            self._open_folder()

    def get(self, key: str, check: Check) -> Any:
        """The value of a key, or None; a value that `check` refuses is dropped.

        Raises:
          Failure: the file cannot be read.
        """
        with self._access() as db:
            if db is None:
                return None
            try:
                row = db.execute("SELECT value FROM replies WHERE key = ?", (key,)).fetchone()
            except sqlite3.DataError:  # too long, or not in UTF-8
                row = (None,)
            if row is None:
                return None
            value = _parsed(row[0], check)
            if value is None:
                _log.warning("%s: a row that is not a reply is dropped", self._path)
                db.execute("DELETE FROM replies WHERE key = ?", (key,))
            else:
                db.execute("UPDATE replies SET used = ? WHERE key = ?", (time.time_ns(), key))
            return value
        return None

    def put(self, key: str, value: Any) -> None:
        """Keeps a value.

        Raises:
          Failure: the file cannot be written, as on a full disk.
        """
        with self._access() as db:
            if db is not None:
                text = json.dumps(value)
                if len(text) < _LONGEST // 2:
                    row = (key, text, time.time_ns())
                    db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?)", row)
                    self._shrink(db)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _open_folder(self) -> None:
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self._name} is {folder}, which cannot be made ({error.strerror}); name a folder"
            ) from error
        if (folder / _EARLIER).exists():
            _log.warning(
                "%s is a cache of an earlier version; it is not read, because its format can run "
                "code. Its questions are asked again; delete it", folder / _EARLIER
            )  # fmt: skip
        if self._path.exists() and not self._path.is_file():
            raise UserError(f"{self._path} is not a file; name another folder in {self._name}")
        try:
            self._open()
        except sqlite3.Error as error:
            raise UserError(
                f"{self._path} cannot be opened ({error}); name another folder in {self._name}"
            ) from error

    def _open(self) -> None:
        """Opens the file, or a new one after what was there is set aside."""
        try:
            self._db = self._connect()
        except sqlite3.Error as error:
            if not _is_broken(error):
                raise
            self._set_aside(error)
            self._db = self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=_WAIT, isolation_level=None, check_same_thread=False
        )
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        try:
            for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "journal_mode = WAL",
                           "synchronous = NORMAL"):  # fmt: skip
                db.execute(f"PRAGMA {pragma}")
            db.execute("BEGIN IMMEDIATE")
            schema = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
            if not schema:
                db.execute(_TABLE)
                db.execute(_INDEX)
            elif sorted(schema) != [(_INDEX,), (_TABLE,)]:  # views and triggers would be run
                raise sqlite3.DatabaseError("it has other tables than a cache")
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def _access(self) -> Iterator[sqlite3.Connection | None]:
        """The open file for one thread at a time, or None; a broken one is set aside."""
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                if _errorname(error).startswith(_BUSY):
                    _log.warning("%s is in use; a reply is not kept", self._path)
                elif _is_broken(error):
                    self._set_aside(error)
                    self._db = self._connect()
                else:
                    raise Failure(
                        f"{self._path} cannot be used ({error}); free space or allow writing, then "
                        f"repeat the command, or leave {self._name} empty to keep no replies"
                    ) from error

    def _set_aside(self, error: sqlite3.Error) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        number = 0
        while (kept := self._path.with_name(f"{FILE}.broken{number or ''}")).exists():
            number += 1
        os.replace(self._path, kept)
        for suffix in ("-wal", "-shm", "-journal"):
            self._path.with_name(FILE + suffix).unlink(missing_ok=True)
        _log.warning(
            "%s is not a cache of replies (%s); it is now %s, and a new one is begun", self._path,
            error, kept.name,
        )  # fmt: skip

    def _shrink(self, db: sqlite3.Connection) -> None:
        """Drops a tenth of the rows, and again, until the file's used part is within the limit."""
        while self._bytes(db) > self._limit:
            (count,) = db.execute("SELECT count(*) FROM replies").fetchone()
            if count <= 1:
                return
            db.execute(
                "DELETE FROM replies WHERE key IN (SELECT key FROM replies ORDER BY used LIMIT ?)",
                (max(count // 10, 1),),
            )

    def _bytes(self, db: sqlite3.Connection) -> int:
        pages, free, size = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size


def make_key(*parts: Any) -> str:
    """A hash of JSON values.

    Example: `make_key("judge", ["yes", "no"]) == make_key("judge", ["yes", "no"])`.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _parsed(text: str | None, check: Check) -> Any:
    """The JSON value of a row if it holds, else None."""
    try:
        value = json.loads(text) if isinstance(text, str) else None
        return value if check(value) else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError):
        return None


def _errorname(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or "SQLITE_CORRUPT"  # one that we raised


def _is_broken(error: sqlite3.Error) -> bool:
    return _errorname(error).startswith(_BROKEN)
