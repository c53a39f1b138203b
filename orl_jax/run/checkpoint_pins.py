"""Checkpoints that others begin from, which are therefore not deleted as they grow old.

A checkpoint of adapters is of no use without the one that it was trained on. So a stage notes its
workdir in the base's folder, as STEP/pinned.json, before its first step. Whoever no longer needs
it may delete that file: the base is then deleted with the next one that is too old to keep.
"""

import json
import logging
import os
from pathlib import Path

from orl_jax.run.files import write_atomic

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


def _users(base: Path) -> list[str]:
    try:
        users = json.loads((base / FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return []
    return users if isinstance(users, list) else []
