"""Predictions on disk from the moment they are made: an evaluation that was stopped goes on.

WORKDIR/answered/NAME_SPLIT.jsonl: a line that says by what they were made, then one an item.
"""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Self

from orl_jax.evaluation.prediction import Prediction
from orl_jax.journal import Journal

_ABOUT = "about"


class Answered:
    """Predictions by item, kept in a file where one is named.

    Args:
      path: of the file, made where missing; None keeps nothing on disk.
      about: JSON: the checkpoint, and every setting that an answer depends on. Predictions that
        were made by others are deleted, since they can't stand beside these.

    Example: `Answered(path, {"seed": 0}).get(item)`.
    """

    def __init__(self, path: pathlib.Path | None, about: Mapping[str, Any]) -> None:
        self._known: dict[str, Prediction] = {}
        self._journal = None
        if path is None:
            return
        with Journal(path) as journal:
            entries = {entry["key"]: entry for entry in journal}
        same = entries.pop(_ABOUT, {}).get(_ABOUT) == about
        if not same:
            if entries:
                logging.info("%s held answers by another model or setting: begun anew", path)
            entries = {}
            path.unlink()
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(entry: Mapping[str, Any]) -> Prediction | None:
    """None of a line that an older version wrote."""
    with contextlib.suppress(TypeError, KeyError):
        return Prediction(**entry["prediction"])
    return None
