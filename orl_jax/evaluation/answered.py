"""Predictions on disk from the moment they are made: an evaluation that was stopped goes on.

WORKDIR/answered/NAME_SPLIT.jsonl: a line that says by what they were made, then one an item.
"""

import contextlib
import dataclasses
import fcntl
import logging
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Self

from orl_jax.evaluation.prediction import Prediction
from orl_jax.run.errors import UserError
from orl_jax.run.files import Journal

_ABOUT = "about"


class Answered:
    """Predictions by item, kept in a file where one is named.

    Args:
      path: of the file, made where missing; None keeps nothing on disk.
      about: JSON: the checkpoint, and every setting that an answer depends on. Predictions that
        were made by others can't stand beside these: their file is set aside, as PATH.before.

    Raises:
      UserError: another process writes into the folder, or it can't be made.

    Example: `Answered(path, {"seed": 0}).get(item)`.
    """

    def __init__(self, path: pathlib.Path | None, about: Mapping[str, Any]) -> None:
        self._known: dict[str, Prediction] = {}
        self._journal = self._alone = None
        if path is None:
            return
        self._alone = _lock(path.parent)
        with Journal(path) as journal:
            entries = {entry["key"]: entry for entry in journal}
        same = entries.pop(_ABOUT, {}).get(_ABOUT) == about
        if not same:
            if entries:
                before = path.with_name(path.name + ".before")
                logging.warning(
                    "%s held %d answers by another model or setting: begun anew, they are in %s",
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
        """The prediction of an item, if it is about the item as it is now."""
        found = self._known.get(item["item_id"])
        return found if found is not None and found.answers(item) else None

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Keeps them, on disk at once."""
        for prediction in predictions:
            self._known[prediction.item_id] = prediction
            if self._journal is not None:
                entry = dataclasses.asdict(prediction)
                self._journal.add({"key": prediction.item_id, "prediction": entry})

    def close(self) -> None:
        """Closes the file."""
        if self._journal is not None:
            self._journal.close()
        if self._alone is not None:
            os.close(self._alone)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is not None and self._journal is not None:
            logging.warning(
                "stopped; %d answers are kept, and the same command goes on", len(self._known)
            )


def _lock(folder: pathlib.Path) -> int:
    """Held while it is open, by this process alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{folder} can't be made ({error}); choose another --workdir") from error
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(place)
        raise UserError(
            f"another evaluation writes into {folder}; wait for it, or choose another --workdir"
        ) from error
    except OSError:  # a file system without locks
        logging.info("%s can't be locked; let one evaluation write into it at a time", folder)
    return place


def _read(entry: Mapping[str, Any]) -> Prediction | None:
    """None of a line that an older version wrote."""
    with contextlib.suppress(TypeError, KeyError):
        return Prediction(**entry["prediction"])
    return None
