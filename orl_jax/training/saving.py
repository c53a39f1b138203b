"""When a stage is saved, where, and what it is resumed from."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from orl_jax.data.look_ahead import Batches
from orl_jax.run import processes
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.config import to_json
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_atomic
from orl_jax.run.lock import Lock
from orl_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Saving:
    """When a stage is saved, and the configuration that is saved with it.

    Attributes:
      config: the whole configuration as JSON values; it goes into every checkpoint and, while the
        stage runs, into WORKDIR/config.json.
      every_steps: steps between checkpoints.
      keep: how many of the newest checkpoints stay.
    """

    config: dict[str, Any]
    every_steps: int
    keep: int

    @classmethod
    def of(cls, config: ConfigDict) -> "Saving":
        """Of a whole configuration; its section `checkpoint` says when."""
        every_steps, keep = config.checkpoint.every_steps, config.checkpoint.keep
        return cls(json.loads(to_json(config)), every_steps, keep)

    def write_config(self, workdir: str) -> None:
        """Writes WORKDIR/config.json; makes the folder."""
        text = json.dumps(self.config, indent=2) + "\n"
        write_atomic(Path(workdir) / "config.json", text)


@contextlib.contextmanager
def sole_use(workdir: str) -> Iterator[None]:
    """Keeps other runs out of a workdir; the first process of a run does so for all of them.

    Reading a workdir, for an evaluation or a report, needs no lock.

    Raises:
      UserError: another run is training there, with its process, host and time.
    """
    lock, refusal = None, ""
    if processes.is_writer():
        Path(workdir).mkdir(parents=True, exist_ok=True)
        try:
            lock = Lock(workdir, "wait for its end, or choose another --workdir")
        except UserError as error:
            refusal = str(error)
    if refusal := processes.gather(refusal)[0]:
        raise UserError(refusal)
    with lock or contextlib.nullcontext():
        yield


def restore(
    checkpoints: Checkpoints, state: TrainState, batches: Batches
) -> tuple[TrainState, float]:
    """The newest checkpoint's state and the seconds spent so far; `batches` continue behind it.

    Args:
      checkpoints: of the stage; there is at least one.
      state: tells the structure.
      batches: the training data, at its beginning.

    Raises:
      UserError: the checkpoint is damaged or of another model.
    """
    restored, extra = checkpoints.restore(like=state.saved())
    batches.set_state(extra["data"])
    logging.info("resuming from step %d of %s", restored["step"], checkpoints.folder)
    return TrainState.restored(restored), extra["seconds"]
