"""One process at a time: a lock on a file or folder, released by the death of its owner."""

import contextlib
import datetime
import errno
import fcntl
import logging
import os
import pathlib
import socket
from types import TracebackType
from typing import Self

from orl_jax.run.errors import UserError

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Lock:
    """A lock on a path, held from construction to `release`, or to the death of the process.

    It is a `flock` on PATH.lock next to a file, or on PATH/.lock in a folder. That file says who
    holds it and is deleted on release; one that a killed process left behind locks nothing.

    Args:
      path: an existing folder, or a file that need not exist yet.
      remedy: the end of the message where another process holds it.
      wait: wait for the other process instead of refusing.

    Raises:
      UserError: another process holds it, with its number, host and time; the file cannot be made.

    Example: `with Lock("runs/demo", "wait for it, or choose another --workdir"): train()`.
    """

    def __init__(
        self, path: str | os.PathLike[str], remedy: str = "wait for it", *, wait: bool = False
    ) -> None:
        self.path = pathlib.Path(path)
        self._place = _place(self.path)
        self._file: int | None = None
        while self._file is None:
            self._file = self._try(remedy, wait)
        with contextlib.suppress(OSError):  # a full disk: locked all the same
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, _about_this_process().encode(), 0)

    def release(self) -> None:
        """Lets others have it; does nothing the second time."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self._place.unlink()
        os.close(self._file)
        self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.release()

    def _try(self, remedy: str, wait: bool) -> int | None:
        """The locked file; None if its owner deleted it in the meantime."""
        try:
            file = os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be locked: {self._place} cannot be made ({error.strerror}); "
                "choose a place that can be written to"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            owner = os.pread(file, 300, 0).decode(errors="replace").strip()
            os.close(file)
            owner = owner or "another process"
            raise UserError(f"{self.path} is in use by {owner}; {remedy}") from error
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                os.close(file)
                raise
            logging.info("%s is on a file system without locks: use it once at a time", self.path)
            return file
        if _is_at(file, self._place):
            return file
        os.close(file)
        return None


def _place(path: pathlib.Path) -> pathlib.Path:
    return path / ".lock" if os.path.isdir(path) else path.with_name(path.name + ".lock")


def _about_this_process() -> str:
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}\n"


def _is_at(file: int, place: pathlib.Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(place))
    except FileNotFoundError:
        return False
