"""What is reported when a disk is full or read-only: one line that names the file."""

import contextlib
import errno
import os
from collections.abc import Iterator

_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# What libraries in other languages say in place of an `OSError`.
_WORDS = tuple(os.strerror(number).lower() for number in _TROUBLE) + ("resource_exhausted",)
REMEDY = (
    "make room there, or name another place, then give the same command again; what was saved "
    "before is intact"
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


def line(error: BaseException) -> str:
    """The line for a person.

    Example: "runs/demo/metrics.jsonl: No space left on device; make room there, or ...".
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}; {REMEDY}"
    said = " ".join(str(error).split())
    short = said if len(said) <= 320 else f"{said[:160]} … {said[-160:]}"
    return f"a file could not be written ({short}); {REMEDY}"
