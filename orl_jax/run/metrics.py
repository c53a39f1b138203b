"""What a run measures: WORKDIR/metrics.jsonl, and the same as TensorBoard events. No jax here."""

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from orl_jax.run.disk import naming
from orl_jax.run.errors import UserError
from orl_jax.run.events import EventsFile
from orl_jax.run.files import read_json_lines, write_json_lines

FILE = "metrics.jsonl"


class MetricsWriter:
    """Writes the metrics of one stage ("vision", "sft", "rl"), a row a logged step.

    A row is `{"stage": "rl", "step": 7, "loss": 0.1, ...}`, written through at once. NaN and
    infinities, which JSON lacks, are written as `null` (TensorBoard gets them as they are).

    Args:
      workdir: made if missing; several stages share its file.
      stage: also the prefix of the names in TensorBoard, e.g. "rl/loss".
      start_step: the step that was restored. Later rows of the stage, which will be written again,
        are dropped first; 0 means a fresh start, and drops all rows of the stage.
      active: False writes nothing: one process of several writes for all.

    Raises:
      OSError: with the file's name; also when a row is written: the disk is full or read-only.

    Example:

        with MetricsWriter("runs/demo", "rl", start_step=0) as metrics:
            metrics.write(1, {"loss": 0.5})
    """

    def __init__(self, workdir: str, stage: str, start_step: int = 0, active: bool = True):
        self.stage = stage
        self.active = active
        if not active:
            return
        folder = Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        drop_rows_after(folder / FILE, stage, start_step)
        self._path = folder / FILE
        self._file = self._path.open("a")
        self._events = EventsFile(workdir, stage)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars under their names. Fetch device arrays first, all in one transfer."""
        if not self.active:
            return
        numbers = {name: float(value) for name, value in values.items()}
        finite = {name: v if math.isfinite(v) else None for name, v in numbers.items()}
        row = {"stage": self.stage, "step": int(step), **finite}
        with naming(self._path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        for name, value in numbers.items():
            self._events.scalar(f"{self.stage}/{name}", value, step)

    def histogram(self, step: int, name: str, values: Any) -> None:
        """A distribution, for TensorBoard only; values that aren't finite are left out."""
        values = np.asarray(values, np.float64).ravel()
        values = values[np.isfinite(values)]
        if values.size and self.active:
            self._events.histogram(f"{self.stage}/{name}", values, step)

    def close(self) -> None:
        """Writes out what is still buffered."""
        if not self.active:
            return
        with contextlib.ExitStack() as stack:  # both, whatever one of them raises
            stack.callback(self._events.close)
            stack.enter_context(naming(self._path))
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(*([OSError] if error else [])):  # an earlier error is the cause
            self.close()


def read_metrics(workdir: str, stage: str | None = None) -> list[dict[str, Any]]:
    """The rows of WORKDIR/metrics.jsonl in order, of one stage or of all; `null` is read as NaN.

    Without the file there are no rows. An unfinished last line, of a killed run, is left out.

    Raises:
      UserError: a line is not a JSON object.

    Example: `[row["loss"] for row in read_metrics("runs/demo", "rl")]`.
    """
    rows = _read_rows(Path(workdir) / FILE)
    return [
        {name: math.nan if value is None else value for name, value in row.items()}
        for row in rows
        if stage is None or row["stage"] == stage
    ]


def _read_rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = read_json_lines(path, cut_off=True)
    for number, row in lines:
        if absent := {"stage", "step"} - row.keys():
            raise UserError(
                f"{path}, line {number}, is not a row of metrics: it lacks {sorted(absent)}; mend "
                "or delete the line"
            )
    return [row for _, row in lines]


def drop_rows_after(path: Path, stage: str, step: int) -> None:
    """Removes the rows of a stage after `step` from a file of rows, which may be missing.

    After a restore they are written again. Step 0 is a fresh start: all rows of the stage go.
    """
    last = step or -1  # a fresh start also writes step 0 again
    kept = [row for row in _read_rows(path) if row["stage"] != stage or row["step"] <= last]
    if path.exists():
        write_json_lines(path, kept)
