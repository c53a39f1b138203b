"""A data set's official files; errors name exactly what is missing or wrong."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from orl_jax.run.errors import UserError
from orl_jax.run.reading import parse_json, read_text

SPLITS = {"train": "train", "val": "validation", "test": "test"}  # official names to ours


class OfficialFiles:
    """Files of one data set.

    Args:
      title: the data set, for messages.
      origin: who distributes the files.
      folder: holds the files.
      videos: holds the videos; None for `folder`.

    Raises:
      UserError: the folder does not exist.

    Example: `OfficialFiles("MSVD-QA", "its authors", "downloads/msvd").rows("test_qa.json")`.
    """

    def __init__(
        self,
        title: str,
        origin: str,
        folder: str | pathlib.Path,
        videos: str | pathlib.Path | None = None,
    ) -> None:
        self.title = title
        self.folder = pathlib.Path(folder)
        self.videos = self.folder if videos is None else pathlib.Path(videos)
        self._origin = origin
        if not os.path.isdir(self.folder):
            raise UserError(
                f"no folder {self.folder}: set config.source.folder to the files of {title}"
            )

    def has(self, name: str) -> bool:
        """Whether a file is present."""
        return os.path.isfile(self.folder / name)

    def those(self, names: Sequence[str]) -> list[str]:
        """Those of the named files that are present.

        Raises:
          UserError: none is.
        """
        found = [name for name in names if self.has(name)]
        if not found:
            raise self.missing(" or ".join(names))
        return found

    def missing(self, name: str) -> UserError:
        """The error for a missing file: what it is, where to get it and where to put it."""
        return UserError(
            f"{self.folder} lacks {name} of {self.title}: get it from {self._origin} and put it "
            "into that folder (docs/own_data.md), or set config.source.folder"
        )

    def text(self, name: str) -> str:
        """A file's text, without a byte-order mark.

        Raises:
          UserError: the file is missing or is not UTF-8.
        """
        if not self.has(name):
            raise self.missing(name)
        return read_text(self.folder / name, "save it as UTF-8 text")

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The objects of a JSON list.

        Raises:
          UserError: the file is missing, or not a JSON list of objects.
        """
        place = f"{self.folder / name} of {self.title}"
        rows = parse_json(self.text(name), place, "download it again", object)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(
                f"{self.folder / name} is not a JSON list of objects, as {self.title} has; "
                "download it again"
            )
        return rows

    def value(self, row: dict[str, Any], key: str, name: str, number: int) -> str:
        """A required value of a row, as text.

        Args:
          row: an object of a file.
          key: of the value.
          name: the file, for the message.
          number: of the row, from 1.

        Raises:
          UserError: the row lacks it.
        """
        try:
            value = text_of(row.get(key))
        except TypeError as error:
            raise UserError(
                f"{self.folder / name}, entry {number}: {key} is {error}; correct the file"
            ) from error
        if not value:
            raise UserError(f"{self.folder / name}, entry {number}, lacks {key}; correct the file")
        return value


def text_of(value: Any) -> str:
    """A value as text, stripped of white space; "" for None.

    Raises:
      TypeError: a list, an object or NaN, which are no text.
    """
    if isinstance(value, list | dict) or (isinstance(value, float) and not math.isfinite(value)):
        raise TypeError(f"{value!r:.40}, not a text")
    return "" if value is None else str(value).strip()
