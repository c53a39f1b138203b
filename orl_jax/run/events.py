"""TensorBoard's event files, written by the caller's thread.

tensorboardX writes in a thread of its own. Where a disk is full that thread dies, and whoever adds
a value then waits for it for ever. Here a failed write is raised where the value is added.
"""

import os
import time
from typing import Any

import numpy as np

from orl_jax.run.disk import naming

_FLUSH_SECONDS = 10


class EventsFile:
    """A new file FOLDER/events.out.tfevents.TIME.HOST.SUFFIX.

    Args:
      folder: exists.
      suffix: of the name.

    Example: `EventsFile("runs/demo", "rl").scalar("rl/loss", 0.5, step=1)`.
    """

    def __init__(self, folder: str, suffix: str) -> None:
        # Imported by who writes only: tensorboardX loads torch where that is installed.
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto.event_pb2 import Event

        self._event, self._summary, self._path = Event, summary, os.path.join(folder, "events.*")
        with naming(self._path):
            prefix = os.path.join(folder, "events")
            self._file = event_file_writer.EventsWriter(prefix, f".{suffix}")
        self._flushed = -float("inf")

    def scalar(self, name: str, value: float, step: int) -> None:
        """Adds a number.

        Raises:
          OSError: the disk is full.
        """
        self._add(self._summary.scalar(name, value), step)

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        """Adds a distribution; raises as `scalar`."""
        self._add(self._summary.histogram(name, values, _bins()), step)

    def close(self) -> None:
        """Writes out what is buffered; raises as `scalar`."""
        with naming(self._path):
            self._file.close()

    def _add(self, summary: Any, step: int) -> None:
        event = self._event(wall_time=time.time(), step=int(step), summary=summary)
        with naming(self._path):
            self._file.write_event(event)
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()


def _bins() -> list[float]:
    """TensorBoard's: a tenth wider from one to the next, on both sides of 0."""
    count = int(np.log(1e20 / 1e-12) / np.log(1.1)) + 1
    above = (1e-12 * 1.1 ** np.arange(count)).tolist()
    return [-edge for edge in reversed(above)] + [0.0] + above
