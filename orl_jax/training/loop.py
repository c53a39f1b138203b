"""The one loop of all stages, as dull as it can be: next batch, advance, log, validate, save.

It stops after `steps`, after `seconds`, or on SIGTERM or SIGINT; in each case with a checkpoint
from which the same command goes on exactly where it stopped. A stage's monitors see every row that
is logged; an alarm among `monitors.stop_on` stops it, too. Several processes go through it in step:
they agree after every step whether to stop, and the first one writes for all.
"""

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.data.look_ahead import Batches
from orl_jax.run import processes
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.clock import span
from orl_jax.run.config import to_json, write
from orl_jax.run.errors import TrainingHalted, UserError
from orl_jax.run.metrics import MetricsWriter, drop_rows_after, read_metrics
from orl_jax.run.rules import ORACLE_MEANS
from orl_jax.run.stop import StopRequested, StopSignal
from orl_jax.run.upgrade import upgrade
from orl_jax.training.monitors import Alarm, Monitors
from orl_jax.training.state import TrainState

ALARMS = "alarms.jsonl"
# What may differ when a stage is gone on with: how long it runs, and what it shows of it.
MAY_CHANGE = (
    "steps",
    "epochs",
    "seconds",
    "log_every",
    "validate_every",
    "rollouts_every",
    "init_from",
)
Metrics = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the loop needs to know of a stage.

    Attributes:
      name: "vision", "sft", …, "rl"; names the checkpoints and the rows of `metrics.jsonl`.
      sections: of the config that it trains by; what they say may not change when it is gone on
        with. Empty is the one of its name.
      advance: takes the state and a batch; returns the new state and metrics (device or host
        scalars).
      validate: returns metrics of the validation split; called every `validate_every` steps.
      steps, seconds: where it ends; 0 seconds means by steps alone.
      base: the checkpoint that the stage began from, for `Checkpoints.save`.
      monitors: watch its rows; what they say is logged, and kept in WORKDIR/alarms.jsonl.
    """

    name: str
    advance: Callable[[TrainState, dict[str, Any], "MetricsWriter"], tuple[TrainState, Metrics]]
    validate: Callable[[TrainState], Metrics] | None
    steps: int
    seconds: float = 0.0
    log_every: int = 1
    validate_every: int = 0
    base: str = ""
    monitors: Monitors | None = None
    sections: tuple[str, ...] = ()


def run(
    stage: Stage, config: ConfigDict, workdir: str, state: TrainState, batches: Batches
) -> TrainState:
    """Runs a stage to its end, from its newest checkpoint if there is one.

    Args:
      stage: see `Stage`.
      config: reads `checkpoint.{every_steps,keep}`; stored in every checkpoint.
      workdir: gets `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/` and, with
        monitors, `alarms.jsonl`.
      state: the state before the first update; its structure also tells how to restore.
      batches: the training data, at its beginning.

    Returns:
      The state after the last update; it is saved.

    Raises:
      UserError: the checkpoint to go on from was trained with other settings.
      StopRequested: after saving, on SIGTERM or SIGINT.
      TrainingHalted: after saving, on an alarm that stops. Run again, the stage goes on; that alarm
        halts it again only once it has cleared and begins anew. Also where a step itself raises it:
        then the state and the data are those before that step.
    """
    with Checkpoints(workdir, stage.name, config.checkpoint.keep) as checkpoints:
        state, elapsed = _restore(checkpoints, stage, config, state, batches)
        if processes.is_writer():
            write(config, workdir)
        start = int(jax.device_get(state.step))
        clock = time.monotonic() - elapsed

        def save(step: int, place: dict[str, Any] | None = None) -> None:
            extra = {
                "config": config.to_dict(),
                "base": stage.base,
                "data": batches.merge_states(processes.gather(place or batches.get_state())),
                "seconds": time.monotonic() - clock,
            }
            checkpoints.save(step, state.saved(), extra)

        with (
            StopSignal() as stop,
            MetricsWriter(workdir, stage.name, start, processes.is_writer()) as metrics,
            _bar(stage, start) as bar,  # closed before any error is reported below it
        ):
            rows = _Rows(metrics, stage, workdir, start)
            step = start
            if start == 0:
                _validate(stage, state, 0, rows)
            late = _out_of_time(stage, clock)
            while step < stage.steps and not late:
                place = batches.get_state()
                try:
                    state, step = _one_step(stage, state, step, batches, rows, bar), step + 1
                except TrainingHalted:  # before its update: the batch is to be read again
                    save(step, place)
                    raise
                bar.update(_progress(stage, step, clock) - bar.n)
                signum, late = _agree(stop.requested, _out_of_time(stage, clock))
                reason = rows.halted or (signum and StopRequested(signum))
                if reason or step % config.checkpoint.every_steps == 0:
                    save(step)
                if reason:
                    checkpoints.wait()
                    raise reason
            if step > start or start == 0:
                save(step)
            _report_bad_videos(batches)
    return state


def _agree(signum: int | None, late: bool) -> tuple[int | None, bool]:
    """The signal that any process has got, and whether the first one's time is over."""
    said = processes.gather((signum, late))
    return next((number for number, _ in said if number), None), said[0][1]


def _restore(
    checkpoints: Checkpoints, stage: Stage, config: ConfigDict, state: TrainState, batches: Batches
) -> tuple[TrainState, float]:
    """The newest checkpoint's state, data position and seconds spent; or the beginning."""
    if checkpoints.latest_step() is None:
        return state, 0.0
    _check_same_settings(checkpoints, stage.sections or (stage.name,), config)
    restored, extra = checkpoints.restore(like=state.saved())
    batches.set_state(extra["data"])
    logging.info("going on from step %d of %s", restored["step"], checkpoints.folder)
    return TrainState.restored(restored), extra["seconds"]


def _check_same_settings(
    checkpoints: Checkpoints, sections: Sequence[str], config: ConfigDict
) -> None:
    """Refuses to go on with a run of another algorithm, Oracle, rate, …: it would be neither."""
    stored, now = upgrade(checkpoints.restore_extra()["config"]), json.loads(to_json(config))
    for section in sections:
        for key, value, other in _differences(stored.get(section, {}), now.get(section, {})):
            if key.rpartition(".")[2] not in (*MAY_CHANGE, *ORACLE_MEANS):
                raise UserError(
                    f"{checkpoints.folder} was trained with {section}.{key}={value!r}, the config "
                    f"says {other!r}; choose another --workdir"
                )


def _differences(
    stored: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted keys that both have, with values that differ; a key that one lacks is a new one."""
    for key, value in stored.items():
        other = now.get(key, value)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            yield from _differences(value, other, f"{prefix}{key}.")
        elif other != value:
            yield f"{prefix}{key}", value, other


def advance(
    stage: Stage, state: TrainState, step: int, batches: Batches, metrics: MetricsWriter
) -> tuple[TrainState, Metrics]:
    """The next batch, and a step on it; both under their names in a profiler's trace.

    Args:
      stage: see `Stage`.
      state: after `step` steps.
      step: counts from 0; the trace has `step + 1`, as the metrics do.
      batches: the training data.
      metrics: for what `stage.advance` writes itself.

    Returns:
      The state after the step, and its metrics.
    """
    with jax.profiler.StepTraceAnnotation(stage.name, step_num=step + 1):
        with span("data"):
            batch = next(batches)
        return stage.advance(state, batch, metrics)


def _one_step(
    stage: Stage,
    state: TrainState,
    step: int,
    batches: Batches,
    rows: "_Rows",
    bar: tqdm,
) -> TrainState:
    waited = batches.wait_seconds
    state, values = advance(stage, state, step, batches, rows.metrics)
    step += 1
    if step % stage.log_every == 0 or step == stage.steps:
        values = jax.device_get(dict(values)) | {
            "data/bad_videos": batches.bad_videos,
            "data/wait_seconds": batches.wait_seconds - waited,
            "time/data": batches.wait_seconds - waited,
        }
        if jax.process_count() > 1:
            numbers = {name: float(value) for name, value in values.items()}
            values = processes.combine_metrics(processes.gather(numbers))
        rows.write(step, values)
        bar.set_postfix(loss=f"{float(values['loss']):.3f}", refresh=False)
    if stage.validate_every and (step % stage.validate_every == 0 or step == stage.steps):
        _validate(stage, state, step, rows)
    return state


def _validate(stage: Stage, state: TrainState, step: int, rows: "_Rows") -> None:
    if stage.validate is not None and stage.validate_every:
        rows.write_validation(step, stage.validate(state))


class _Rows:
    """Writes the rows of a stage, each of which its monitors, if it has any, see first.

    Attributes:
      metrics: what they are written to; it has dropped the rows after the step `start`.
      halted: what to raise, once an alarm has begun that stops the stage.
    """

    def __init__(self, metrics: MetricsWriter, stage: Stage, workdir: str, start: int):
        self.metrics = metrics
        self.halted: TrainingHalted | None = None
        self._stage = stage.name
        self._monitors = stage.monitors
        self._alarms = Path(workdir) / ALARMS
        if self._monitors is not None:
            if metrics.active:
                drop_rows_after(self._alarms, stage.name, start)
            processes.wait()  # until the first process has dropped the rows that were not saved
            self._monitors.replay(read_metrics(workdir, stage.name))

    def write(self, step: int, values: Metrics) -> None:
        """A row of a training step."""
        self._watch(step, values)
        alarms = {} if self._monitors is None else {"monitor/alarms": self._monitors.active}
        self.metrics.write(step, {**values, **alarms})

    def write_validation(self, step: int, values: Metrics) -> None:
        """A row of a validation, which has names of its own."""
        self._watch(step, values)
        self.metrics.write(step, values)

    def _watch(self, step: int, values: Metrics) -> None:
        if self._monitors is None:
            return
        for alarm in self._monitors.observe(step, values):
            if self.metrics.active:
                logging.warning("%s", alarm.message)
                self._keep(alarm)
            if alarm.name in self._monitors.stop_on and self.halted is None:
                self.halted = TrainingHalted(
                    f"{alarm.message} Saved at step {step}; the same command goes on from there."
                )

    def _keep(self, alarm: Alarm) -> None:
        row = {"stage": self._stage, "step": alarm.step, **alarm._asdict()}
        row["value"] = alarm.value if math.isfinite(alarm.value) else None
        with self._alarms.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _bar(stage: Stage, start: int) -> tqdm:
    """Counts seconds where they limit the stage, else steps."""
    quiet = not processes.is_writer()
    if stage.seconds:
        return tqdm(total=round(stage.seconds), desc=stage.name, unit="s", disable=quiet)
    return tqdm(total=stage.steps, initial=start, desc=stage.name, unit="step", disable=quiet)


def _progress(stage: Stage, step: int, clock: float) -> int:
    spent = round(min(time.monotonic() - clock, stage.seconds))
    return spent if stage.seconds else step


def _out_of_time(stage: Stage, clock: float) -> bool:
    return bool(stage.seconds) and time.monotonic() - clock >= stage.seconds


def _report_bad_videos(batches: Batches) -> None:
    if batches.bad_videos:
        logging.warning("%d unreadable videos were skipped", batches.bad_videos)
