"""The rows of a stage: what its monitors see, and what is then written."""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orl_jax.run import processes
from orl_jax.run.disk import naming
from orl_jax.run.errors import TrainingHalted
from orl_jax.run.metrics import MetricsWriter, drop_rows_after, read_metrics
from orl_jax.training.monitors import Alarm, Monitors

ALARMS = "alarms.jsonl"


class Rows:
    """Writes rows; the monitors, where there are any, see each row first.

    Args:
      metrics: what rows are written to; it has dropped those after the step `start`.
      stage: its name.
      monitors: of the stage; they are brought up to `start` here.
      workdir: gets `alarms.jsonl`.
      start: the step that the stage begins from or resumes at.

    Attributes:
      metrics: see above.
      halted: what to raise, once an alarm has begun that stops the stage.
    """

    def __init__(
        self,
        metrics: MetricsWriter,
        stage: str,
        monitors: Monitors | None,
        workdir: str,
        start: int,
    ):
        self.metrics = metrics
        self.halted: TrainingHalted | None = None
        self._stage = stage
        self._monitors = monitors
        self._workdir = workdir
        self._alarms = Path(workdir) / ALARMS
        if monitors is not None:
            if metrics.active:
                drop_rows_after(self._alarms, stage, start)
            processes.wait()  # until the first process has dropped the rows that were not saved
            monitors.replay(read_metrics(workdir, stage))

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """A row of a training step."""
        self._watch(step, values)
        alarms = {} if self._monitors is None else {"monitor/alarms": self._monitors.active}
        self.metrics.write(step, {**values, **alarms})

    def write_validation(self, step: int, values: Mapping[str, Any]) -> None:
        """A row of a validation, which has names of its own."""
        self._watch(step, values)
        self.metrics.write(step, values)

    def is_validated(self, step: int) -> bool:
        """Whether there is a row of a validation of this step."""
        rows = read_metrics(self._workdir, self._stage)
        names = [name for row in rows if row["step"] == step for name in row]
        return any(name.startswith("validation/") for name in names)

    def _watch(self, step: int, values: Mapping[str, Any]) -> None:
        if self._monitors is None:
            return
        for alarm in self._monitors.observe(step, values):
            if self.metrics.active:
                logging.warning("%s", alarm.message)
                self._keep(alarm)
            if alarm.name in self._monitors.stop_on and self.halted is None:
                self.halted = TrainingHalted(
                    f"{alarm.message} Saved at step {step}; the same command resumes from there."
                )

    def _keep(self, alarm: Alarm) -> None:
        row = {"stage": self._stage, "step": alarm.step, **alarm._asdict()}
        row["value"] = alarm.value if math.isfinite(alarm.value) else None
        with naming(self._alarms), self._alarms.open("a") as file:
            file.write(json.dumps(row) + "\n")
