"""The one loop of all stages, as dull as it can be: next batch, step, log, validate, save.

It stops after `steps`, after `seconds`, or on SIGTERM or SIGINT; in each case with a checkpoint
from which the same command resumes exactly where it stopped. A stage's monitors see every row that
is logged; an alarm among `monitors.stop_on` also stops it. Several processes go through the loop in
step: they agree after every step whether to stop, and the first one writes for all.
"""

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from orl_jax.data.look_ahead import Batches
from orl_jax.run import processes
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.checkpoint.pins import pin
from orl_jax.run.clock import span
from orl_jax.run.errors import TrainingHalted
from orl_jax.run.metrics import MetricsWriter
from orl_jax.run.stop import StopRequested, StopSignal
from orl_jax.training.ending import log_end
from orl_jax.training.monitors import Monitors
from orl_jax.training.resuming import check_same
from orl_jax.training.rows import Rows
from orl_jax.training.saving import Saving, restore, sole_use
from orl_jax.training.state import FINITE, TrainState

Metrics = Mapping[str, Any]
TrainStep = Callable[[TrainState, dict[str, Any], MetricsWriter], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the loop needs to know of a stage.

    Attributes:
      name: "vision", "sft", …, "rl"; names the checkpoints and the rows of `metrics.jsonl`.
      train_step: takes the state and a batch; returns the new state and metrics (device or host
        scalars).
      validate: returns metrics of the validation split; called every `validate_every` steps.
      steps, seconds: where it ends; 0 seconds means by steps only.
      base: the checkpoint that the stage began from, for `Checkpoints.save`.
      monitors: watch its rows; what they say is logged, and kept in WORKDIR/alarms.jsonl.
      sections: of the configuration that it is trained by, which may not change when it is resumed;
        empty is the section of its name. Some others may not either; see `resuming`.
      identity: what else may not change, as `resuming.identity` gives it; saved with it.
    """

    name: str
    train_step: TrainStep
    validate: Callable[[TrainState], Metrics] | None
    steps: int
    seconds: float = 0.0
    log_every: int = 1
    validate_every: int = 0
    base: str = ""
    monitors: Monitors | None = None
    sections: tuple[str, ...] = ()
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def run(
    stage: Stage, saving: Saving, workdir: str, state: TrainState, batches: Batches
) -> TrainState:
    """Runs a stage to its end, from its newest checkpoint if there is one.

    Args:
      stage: see `Stage`.
      saving: when to save, and the configuration to save.
      workdir: gets `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/` and, with
        monitors, `alarms.jsonl`.
      state: the state before the first update; its structure also tells how to restore.
      batches: the training data, at its beginning.

    Returns:
      The state after the last update; it is saved.

    Raises:
      UserError: the checkpoint to resume from was trained with other settings; another process
        trains in `workdir`.
      StopRequested: after saving, on SIGTERM or SIGINT.
      TrainingHalted: after saving, on an alarm that stops. The stage can then be resumed; that
        alarm halts it again only after it has cleared and been raised again. Without saving, at the
        first loss or gradient that is not finite.

      If a step itself raises one of the last two, state and data are those before that step.
    """
    with (
        sole_use(workdir),
        Checkpoints(workdir, stage.name, saving.keep) as checkpoints,
    ):
        elapsed = 0.0
        if processes.is_writer():
            checkpoints.drop_unfinished()
        if checkpoints.latest_step() is not None:
            sections = stage.sections or (stage.name,)
            check_same(checkpoints, sections, saving.config, stage.identity)
            state, elapsed = restore(checkpoints, state, batches)
        if processes.is_writer():
            if stage.base:
                pin(Path(os.path.normpath(os.path.join(workdir, stage.base))), workdir, stage.name)
            saving.write_config(workdir)
        start = int(jax.device_get(state.step))
        with (
            StopSignal() as stop,
            MetricsWriter(workdir, stage.name, start, processes.is_writer()) as metrics,
            _bar(stage, start) as bar,  # closed before any error is reported below it
        ):
            rows = Rows(metrics, stage.name, stage.monitors, workdir, start)
            loop = _Loop(stage, saving, checkpoints, batches, rows, bar, elapsed)
            state = loop.run(state, start, stop)
    if processes.is_writer():
        step, section = int(jax.device_get(state.step)), (stage.sections or (stage.name,))[0]
        log_end(workdir, stage.name, section, start=start, step=step, seconds=loop.seconds)
    return state


class _Loop:
    """The loop itself; see `run`."""

    def __init__(
        self,
        stage: Stage,
        saving: Saving,
        checkpoints: Checkpoints,
        batches: Batches,
        rows: Rows,
        bar: tqdm,
        elapsed: float,
    ) -> None:
        self._stage = stage
        self._saving = saving
        self._checkpoints = checkpoints
        self._batches = batches
        self._rows = rows
        self._bar = bar
        self._begun = time.monotonic() - elapsed

    @property
    def seconds(self) -> float:
        """Spent on the stage, over all its sessions."""
        return time.monotonic() - self._begun

    def run(self, state: TrainState, start: int, stop: StopSignal) -> TrainState:
        """From the step `start` to the end."""
        step = start
        if start == 0 or self._was_left_out(start):
            self._validate(state, start)
        late = self._late()
        while step < self._stage.steps and not late:
            state, step = self._one_step(state, step), step + 1
            signum, late = _agree(stop.requested, self._late())
            reason = self._rows.halted or (signum and StopRequested(signum))
            if reason or step % self._saving.every_steps == 0:
                self._save(state, step)
            if reason:
                self._checkpoints.wait()
                raise reason
        if step > start or start == 0:
            self._save(state, step)
        if self._batches.bad_videos:
            logging.warning("%d unreadable videos were skipped", self._batches.bad_videos)
        return state

    def _one_step(self, state: TrainState, step: int) -> TrainState:
        batches, stage = self._batches, self._stage
        place, waited = batches.get_state(), batches.wait_seconds
        try:
            state, values = traced_step(stage, state, step, batches, self._rows.metrics)
        except (TrainingHalted, StopRequested):  # before its update: its batch is to be read again
            self._save(state, step, place)
            raise
        step += 1
        self._stop_unless_finite(step, values)
        if step % stage.log_every == 0 or step == stage.steps:
            self._log(step, values, batches.wait_seconds - waited)
        if stage.validate_every and (step % stage.validate_every == 0 or step == stage.steps):
            self._validate(state, step)
        self._bar.update(self._progress(step) - self._bar.n)
        return state

    def _stop_unless_finite(self, step: int, values: Metrics) -> None:
        """At once: the state is that before the step, and what was saved stays the newest."""
        if FINITE not in values or jax.device_get(values[FINITE]):
            return
        section = (self._stage.sections or (self._stage.name,))[0]
        self._checkpoints.wait()
        saved = self._checkpoints.latest_step()
        kept = "nothing was saved" if saved is None else f"the newest checkpoint is of step {saved}"
        raise TrainingHalted(
            f"{self._stage.name}: loss or gradient of step {step} is not finite (loss "
            f"{float(jax.device_get(values['loss'])):.3g}), so the step was not taken; {kept}. "
            f"Try, in another --workdir, a lower --config.{section}.learning_rate or "
            f"--config.{section}.max_grad_norm, a longer warm-up, or dtype=float32"
        )

    def _log(self, step: int, values: Metrics, waited: float) -> None:
        values = {name: value for name, value in values.items() if name != FINITE}
        values = jax.device_get(values) | {
            "data/bad_videos": self._batches.bad_videos,
            "data/wait_seconds": waited,
            "time/data": waited,
        }
        if jax.process_count() > 1:
            numbers = {name: float(value) for name, value in values.items()}
            values = processes.combine_metrics(processes.gather(numbers))
        self._rows.write(step, values)
        self._bar.set_postfix(loss=f"{float(values['loss']):.3f}", refresh=False)

    def _validate(self, state: TrainState, step: int) -> None:
        if self._stage.validate is None or not self._stage.validate_every:
            return
        try:
            values = self._stage.validate(state)
        except StopRequested:  # it is left out: a long one would keep the process from stopping
            self._save(state, step)
            raise
        self._rows.write_validation(step, values)

    def _was_left_out(self, start: int) -> bool:
        """Whether the validation of the restored step was, by a stop."""
        every = self._stage.validate_every
        due = bool(every) and start % every == 0 and not self._rows.is_validated(start)
        return processes.gather(due)[0]

    def _save(self, state: TrainState, step: int, place: dict[str, Any] | None = None) -> None:
        """With the data's position, or an earlier one."""
        batches = self._batches
        extra = {
            "config": self._saving.config,
            "base": self._stage.base,
            **self._stage.identity,
            "data": batches.merge_states(processes.gather(place or batches.get_state())),
            "seconds": self.seconds,
        }
        self._checkpoints.save(step, state.saved(), extra)

    def _progress(self, step: int) -> int:
        spent = round(min(time.monotonic() - self._begun, self._stage.seconds))
        return spent if self._stage.seconds else step

    def _late(self) -> bool:
        seconds = self._stage.seconds
        return bool(seconds) and time.monotonic() - self._begun >= seconds


def traced_step(
    stage: Stage, state: TrainState, step: int, batches: Batches, metrics: MetricsWriter
) -> tuple[TrainState, Metrics]:
    """The next batch, and a step on it; both under their names in a profiler's trace.

    Args:
      stage: see `Stage`.
      state: after `step` steps.
      step: counts from 0; the trace has `step + 1`, as the metrics do.
      batches: the training data.
      metrics: for what `stage.train_step` writes itself.

    Returns:
      The state after the step, and its metrics.
    """
    with jax.profiler.StepTraceAnnotation(stage.name, step_num=step + 1):
        with span("data"):
            batch = next(batches)
        return stage.train_step(state, batch, metrics)


def _agree(signum: int | None, late: bool) -> tuple[int | None, bool]:
    """The signal that any process has got, and whether the first one's time is over."""
    said = processes.gather((signum, late))
    return next((number for number, _ in said if number), None), said[0][1]


def _bar(stage: Stage, start: int) -> tqdm:
    """Counts seconds where they limit the stage, else steps."""
    quiet = not processes.is_writer()
    if stage.seconds:
        return tqdm(total=round(stage.seconds), desc=stage.name, unit="s", disable=quiet)
    return tqdm(total=stage.steps, initial=start, desc=stage.name, unit="step", disable=quiet)
