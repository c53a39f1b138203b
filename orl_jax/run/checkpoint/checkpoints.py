"""Checkpoints of a run: WORKDIR/checkpoints/STAGE/STEP, written and read with Orbax.

A checkpoint holds a state (a tree of arrays) and `extra` (JSON: configuration, data position, the
path of the checkpoint that the stage began from, ...). Leaves of a state are arrays of jax or
numpy, of any type but 4-bit integers, and Python numbers. Random keys are stored as
`jax.random.key_data(key)`.
"""

import contextlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from orl_jax.run.checkpoint import sums
from orl_jax.run.checkpoint.damage import check_metadata, naming_full_disk, readable
from orl_jax.run.checkpoint.location import FOLDER
from orl_jax.run.checkpoint.pins import NewestAndPinned
from orl_jax.run.checkpoint.trees import Placement, abstract, host_placeholder, how_to_restore
from orl_jax.run.errors import Failure, UserError

_UNFINISHED = ".orbax-checkpoint-tmp"


class Checkpoints:
    """The checkpoints of one stage of a run.

    Saving copies the state and writes in the background; leaving the `with` block waits for that. A
    checkpoint appears under its name only when it is complete.

    Args:
      workdir: of the run; the folder is made on the first save.
      stage: e.g. "sft" or "rl".
      keep: how many of the newest to keep; older ones are deleted, except for those that another
        stage began from (`pins`). `None` keeps all.

    Example:

        with Checkpoints("runs/demo", "rl", keep=2) as checkpoints:
            if checkpoints.latest_step() is not None:
                state, extra = checkpoints.restore(like=state)
            ...
            checkpoints.save(step, state, {"config": config.to_dict()})
    """

    def __init__(self, workdir: str, stage: str, keep: int | None = None):
        # Orbax logs each of its steps, and a traceback of every error that it then raises.
        absl_logging.set_verbosity(absl_logging.FATAL)
        self.folder = Path(workdir).absolute() / FOLDER / stage
        self._keep = keep
        self._opened: ocp.CheckpointManager | None = None

    def save(self, step: int, state: Any, extra: dict[str, Any]) -> None:
        """Saves under `step`; if that step is already saved, does nothing.

        Raises:
          TypeError: `extra` is not JSON (numpy scalars, for instance).
          Failure: the disk is full or read-only; also from `wait` and `close`.
        """
        json.dumps(extra)  # refuse here, not in Orbax's background thread
        with naming_full_disk(self.folder):
            if step in self._manager().all_steps():
                return
            arguments = ocp.args.Composite(
                state=ocp.args.StandardSave(state), extra=ocp.args.JsonSave(extra)
            )
            self._manager().save(step, args=arguments, force=True)

    def drop_unfinished(self) -> None:
        """Deletes what killed runs left of checkpoints that they were writing.

        Only for the one process that writes, before it saves.
        """
        for folder in self.folder.glob(f"*{_UNFINISHED}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def latest_step(self) -> int | None:
        """The newest step that is saved, or none."""
        return self._manager().latest_step() if os.path.isdir(self.folder) else None

    def restore(self, step: int | None = None, like: Any = None) -> tuple[Any, dict[str, Any]]:
        """The state and the extra of a step (by default the newest).

        Args:
          step: which.
          like: a tree of the state's structure, of arrays or `jax.ShapeDtypeStruct`s. What comes
            back has its containers (also named tuples), its types (converted, where they differ)
            and its shardings (the first device, where it has none). Without `like`: nested dicts
            and lists of numpy arrays.

        Raises:
          UserError: there is none, it cannot be read, or it does not fit `like`.
        """
        step = self._existing(step)
        extra = self.restore_extra(step)
        self._check_sums(step, "state")
        with readable(self.folder / str(step), "does not fit this configuration, or is damaged"):
            target = self._target(step) if like is None else jax.tree.map(abstract, like)
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target))
            return self._manager().restore(step, args=arguments).state, extra

    def restore_part(
        self, name: str, step: int | None = None, place: Placement | None = None
    ) -> Any:
        """One entry of the state, such as "trained", as nested dicts.

        The others are not read: an optimiser's state is twice as large as what it trains.

        Args:
          name: of the entry.
          step: by default the newest.
          place: from the path within the entry ("a/b") and the shape to where an array lives: each
            device then reads its own part. Without it, numpy arrays.

        Raises:
          UserError: there is no checkpoint, it cannot be read, or its state has no such entry.
        """
        step = self._existing(step)
        folder = self.folder / str(step)
        self._check_sums(step, "state")
        with readable(folder, "is damaged"):
            stored = self._target(step)
        if name not in stored:
            raise UserError(f"{folder} holds no {name!r}; it has {', '.join(stored)}")
        target = {name: stored[name]}
        how = jax.tree_util.tree_map_with_path(partial(how_to_restore, place), target)
        arguments = ocp.args.PyTreeRestore(target, restore_args=how, partial_restore=True)
        with readable(folder, "is damaged"):
            with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
                return checkpointer.restore(folder / "state", args=arguments)[name]

    def restore_extra(self, step: int | None = None) -> dict[str, Any]:
        """Only the extra of a step (by default the newest): quick, whatever the size of the state.

        Raises:
          UserError: there is none, or it cannot be read.
        """
        step = self._existing(step)
        self._check_sums(step, "extra")
        with readable(self.folder / str(step), "is damaged"):
            arguments = ocp.args.Composite(extra=ocp.args.JsonRestore())
            return self._manager().restore(step, args=arguments).extra

    def wait(self) -> None:
        """Returns when all that was saved is on disk."""
        if self._opened is not None:
            with naming_full_disk(self.folder):
                self._opened.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the background threads."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with naming_full_disk(self.folder):
                opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(*([Failure] if error else [])):  # an earlier error is the cause
            self.close()

    def _check_sums(self, step: int, part: str) -> None:
        folder = self.folder / str(step)
        with readable(folder, "cannot be read"):
            changed = sums.difference(folder, part)
        if changed:
            raise UserError(
                f"the checkpoint {folder} is damaged: {changed} since it was written; restore it "
                "from a copy, or delete the folder to use an older checkpoint"
            )

    def _seal(self) -> None:
        """Writes the sums of the checkpoint that is about to get its name."""
        if jax.process_index() == 0:
            for folder in self.folder.glob(f"*{_UNFINISHED}*"):
                sums.write(folder)

    def _manager(self) -> ocp.CheckpointManager:
        if self._opened is None:
            check_metadata(self.folder)
            kept = None if self._keep is None else NewestAndPinned(self.folder, self._keep)
            self._opened = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=kept,
                    async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
                ),
                item_handlers={
                    "state": ocp.StandardCheckpointHandler(),
                    "extra": ocp.JsonCheckpointHandler(),
                },
            )
        return self._opened

    def _existing(self, step: int | None) -> int:
        self.wait()
        steps = sorted(self._manager().all_steps()) if os.path.isdir(self.folder) else []
        if not steps:
            raise UserError(
                f"there is no checkpoint in {self.folder}; run the stage that writes it first"
            )
        if step is not None and step not in steps:
            have = ", ".join(map(str, steps))
            raise UserError(
                f"there is no checkpoint of step {step} in {self.folder}; it has {have}"
            )
        return steps[-1] if step is None else step

    def _target(self, step: int) -> Any:
        """The stored tree with placeholders as leaves."""
        stored = self._manager().item_metadata(step).state
        if stored is None:
            raise FileNotFoundError("it holds no state")
        return jax.tree.map(host_placeholder, stored.tree)
