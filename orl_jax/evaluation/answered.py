"""Predictions saved to disk as they are made, so that a stopped evaluation resumes.

WORKDIR/answered/NAME_SPLIT.jsonl: a line about the model and settings, then one per item.
"""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Self

from orl_jax.evaluation.prediction import Prediction
from orl_jax.run.errors import UserError
from orl_jax.run.files import Journal
from orl_jax.run.lock import Lock

_ABOUT = "about"


class Answered:
    """Predictions by item, kept in a file if one is named.

    Args:
      path: of the file, created if missing; None keeps nothing on disk.
      about: JSON: the checkpoint, and every setting that an answer depends on. A file of
        predictions with other values is renamed to PATH.before.

    Raises:
      UserError: another process writes to the folder, or it cannot be made.

    Example: `Answered(path, {"seed": 0}).get(item)`.
    """

    def __init__(self, path: pathlib.Path | None, about: Mapping[str, Any]) -> None:
        self._known: dict[str, Prediction] = {}
        self._journal = self._lock = None
        if path is None:
            return
        self._lock = _lock(path.parent)
        with Journal(path) as journal:
            entries = {entry["key"]: entry for entry in journal}
        same = entries.pop(_ABOUT, {}).get(_ABOUT) == about
        if not same:
            if entries:
                before = path.with_name(path.name + ".before")
                logging.warning(
                    "%s held %d answers of another model or other settings; they are now in %s",
                    path, len(entries), before.name,
                )  # fmt: skip
                path.replace(before)
            path.unlink(missing_ok=True)
            entries = {}
        self._journal = Journal(path)
        if not same:
            self._journal.add({"key": _ABOUT, _ABOUT: dict(about)})
        self._known = {key: _read(entry) for key, entry in entries.items()}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, item: Mapping[str, Any]) -> Prediction | None:
        """The prediction for an item, unless the item has changed since."""
        found = self._known.get(item["item_id"])
        return found if found is not None and found.answers(item) else None

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Keeps predictions, on disk at once."""
        for prediction in predictions:
            self._known[prediction.item_id] = prediction
            if self._journal is not None:
                entry = dataclasses.asdict(prediction)
                self._journal.add({"key": prediction.item_id, "prediction": entry})

    def close(self) -> None:
        """Closes the file."""
        if self._journal is not None:
            self._journal.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is not None and self._journal is not None:
            logging.warning(
                "stopped with %d answers saved; the same command resumes", len(self._known)
            )


def _lock(folder: pathlib.Path) -> Lock:
    """Makes a folder and locks it: one evaluation writes to it at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error}); choose another --workdir") from error
    return Lock(folder, "wait for it, or choose another --workdir")


def _read(entry: Mapping[str, Any]) -> Prediction | None:
    """The prediction of a line; None if an older version wrote it."""
    with contextlib.suppress(TypeError, KeyError):
        found = Prediction(**entry["prediction"])
        return found if found.is_whole() else None
    return None
