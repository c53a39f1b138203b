"""Checksums of a checkpoint's files, so that a changed one is never trained on or evaluated.

They are written before a checkpoint gets its name, and checked whenever it is read. Bits that
change on a disk, or in a copy that broke off, mostly decode to other numbers without any error. An
earlier version's checkpoint has none, and is read without this check.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orl_jax.run.errors import UserError
from orl_jax.run.reading import read_bytes, read_json

FILE = "sums.json"  # in the checkpoint's folder
_PARTS = ("state", "extra")
_THREADS = 4  # hashing does not hold Python's lock


def write(folder: Path) -> None:
    """Writes FOLDER/sums.json: of each file of the state and the extra its size and digest.

    Raises:
      OSError: a file cannot be read or written.
    """
    files = [file for part in _PARTS for file in sorted((folder / part).rglob("*"))]
    files = [file for file in files if file.is_file()]
    sums = {str(file.relative_to(folder)): each for file, each in _sums(files)}
    (folder / FILE).write_text(json.dumps(sums, indent=0))


def difference(folder: Path, part: str = "") -> str:
    """What differs from when a checkpoint was written; "" if nothing does, or nothing is known.

    Args:
      folder: of the checkpoint.
      part: "state" or "extra"; both by default.

    Example: "state/d/5c7e is missing", "extra/metadata has changed".
    """
    inside = [each for name in _PARTS for each in (folder / name).rglob("*")]
    odd = [each for each in inside if not (each.is_file() or each.is_dir())]
    if odd:  # a pipe, say: reading it would take for ever
        return f"{odd[0].relative_to(folder)} is no file"
    if not os.path.lexists(folder / FILE):
        return ""
    try:
        stored = read_json(folder / FILE).items()
        known = {name: (int(size), str(digest)) for name, (size, digest) in stored}
    except (UserError, ValueError, TypeError):
        return f"{FILE} has changed"
    names = [name for name in known if not part or name.split("/")[0] == part]
    for name in names:
        file = folder / name
        if ".." in file.parts or not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != known[name][0]:
            return f"{name} has changed"
    for name, (_, each) in zip(names, _sums(folder / name for name in names), strict=True):
        if each != known[name]:
            return f"{name} has changed"
    return ""


def digest(folder: Path) -> str:
    """Of a checkpoint's whole content; 16 hexadecimal digits, "" if it has no sums."""
    try:
        return hashlib.sha256(read_bytes(folder / FILE)).hexdigest()[:16]
    except UserError:
        return ""


def _sums(files: Iterable[Path]) -> list[tuple[Path, tuple[int, str]]]:
    files = list(files)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(zip(files, pool.map(_sum, files), strict=True))


def _sum(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
        return file.tell(), digest
