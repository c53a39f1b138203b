"""Files that are there whole or not at all, whenever a run is killed or another one writes, too."""

import os
from pathlib import Path


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 beside `path`, then puts it in its place; makes the folder.

    Raises:
      OSError: the folder can't be made or written to; what was at `path` is as it was.

    Example: `write_whole("runs/demo/results.json", "{}")`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
