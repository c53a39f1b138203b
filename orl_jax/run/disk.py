"""What is reported when a disk is full or read-only: one line that names the file."""

import contextlib
import errno
import os
from collections.abc import Iterator

_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# What libraries in other languages say in place of an `OSError`.
_WORDS = tuple(os.strerror(number).lower() for number in _TROUBLE) + ("resource_exhausted",)
REMEDY = (
    "make room there, or name another place. The checkpoints saved so far are intact, and the same "
    "command resumes from the newest"
)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Gives the `OSError`s raised inside the name of the file, which a failed write leaves out."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise


def is_trouble(error: BaseException) -> bool:
    """Whether an error says that a disk is full, read-only, over a quota or broken."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _TROUBLE
    return isinstance(error, Exception) and any(word in str(error).lower() for word in _WORDS)


def line(error: OSError) -> str:
    """The line for a person.

    Example: "runs/demo/metrics.jsonl: No space left on device; make room there, or ...".
    """
    return f"{error.filename or 'a file'}: {error.strerror}; {REMEDY}"
