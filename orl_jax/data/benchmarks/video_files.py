"""Videos in a folder, found by name, whatever their container format."""

import os
import pathlib
from collections.abc import Sequence

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".wmv", ".mpg", ".mpeg")


class VideoFiles:
    """The files of a folder and its subfolders, by name without suffix.

    Args:
      folder: where to look; a missing folder has no files.
      suffixes: of the files to find, in lower case.

    Example: `VideoFiles("videos").find(["v_abc"])` may be "/data/videos/v_abc.mkv".
    """

    def __init__(self, folder: str | os.PathLike[str], suffixes: Sequence[str] = SUFFIXES) -> None:
        self._folder = pathlib.Path(folder).resolve()
        self._suffixes = tuple(suffixes)
        self._paths: dict[str, str] = {}
        for place, folders, names in os.walk(self._folder, followlinks=True):
            folders.sort()
            for name in sorted(names):
                if name.lower().endswith(self._suffixes):
                    # The first one counts: a higher folder takes precedence over a deeper one.
                    self._paths.setdefault(self._stem(name), os.path.join(place, name))

    def find(self, names: Sequence[str]) -> str | None:
        """The absolute path of the first of `names` that exists, or None.

        A name may be a path (relative to the folder or absolute), with or without its suffix.
        """
        for name in names:
            path = self._folder / name
            if name and os.path.isfile(path):
                return str(path)
            if found := self._paths.get(self._stem(os.path.basename(name))):
                return found
        return None

    def expected(self, name: str) -> str:
        """The path where a missing video may be put."""
        whole = name.lower().endswith(self._suffixes)
        return str(self._folder / (name if whole else name + self._suffixes[0]))

    def _stem(self, name: str) -> str:
        stem, suffix = os.path.splitext(name)
        return stem if suffix.lower() in self._suffixes else name
