"""Checkpoints that others begin from, which are therefore not deleted as they grow old.

A checkpoint of adapters is of no use without the one that it was trained on. So a stage notes its
workdir in the base's folder, as STEP/pinned.json, before its first step. Whoever no longer needs
it may delete that file: the base is then deleted with the next one that is too old to keep.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orl_jax.run.errors import UserError
from orl_jax.run.files import write_atomic
from orl_jax.run.reading import read_json

FILE = "pinned.json"


def pin(base: Path, workdir: str | os.PathLike[str], stage: str) -> None:
    """Notes that a stage of a run begins from a checkpoint.

    Args:
      base: the checkpoint's folder.
      workdir: of the run; kept relative to `base`, as both may be moved.
      stage: of the run.
    """
    user = f"{os.path.relpath(Path(workdir).absolute(), base)}: {stage}"
    users = _users(base)
    if user in users:
        return
    try:
        write_atomic(base / FILE, json.dumps([*users, user], indent=2) + "\n")
    except OSError as error:
        logging.warning(
            "%s cannot be marked as needed by %s (%s): see that it is not deleted",
            base, workdir, error.strerror,
        )  # fmt: skip


def is_pinned(folder: Path) -> bool:
    """Whether a checkpoint is some run's base."""
    return (folder / FILE).exists()


class NewestAndPinned(NamedTuple):
    """Which checkpoints Orbax keeps: the newest `keep`, and those that others began from."""

    folder: Path
    keep: int

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One answer for each of `checkpoints`, which are in the order of their steps."""
        newest = len(checkpoints) - self.keep
        return [
            place >= newest or is_pinned(self.folder / str(each.step))
            for place, each in enumerate(checkpoints)
        ]


def _users(base: Path) -> list[str]:
    try:
        return read_json(base / FILE, kind=list)
    except UserError:  # there is none, or it is damaged
        return []
