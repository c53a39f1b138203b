"""The one loop of all stages, as dull as it can be: next batch, advance, log, validate, save.

It stops after `steps`, after `seconds`, or on SIGTERM or SIGINT; in each case with a checkpoint
from which the same command goes on exactly where it stopped.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.checkpoint import Checkpoints
from orl_jax.metrics import MetricsWriter
from orl_jax.stop import StopRequested, StopSignal
from orl_jax.training.state import TrainState

Metrics = Mapping[str, Any]


class Batches(Protocol):
    """An endless source of batches whose position can be saved, such as `Loader`."""

    bad_videos: int
    wait_seconds: float

    def __next__(self) -> dict[str, Any]: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the loop needs to know of a stage.

    Attributes:
      name: "vision", "sft" or "rl"; names the checkpoints and the rows of `metrics.jsonl`.
      advance: takes the state and a batch; returns the new state and metrics (device or host
        scalars).
      validate: returns metrics of the validation split; called every `validate_every` steps.
      steps, seconds: where it ends; 0 seconds means by steps alone.
      base: the checkpoint that the stage began from, for `Checkpoints.save`.
    """

    name: str
    advance: Callable[[TrainState, dict[str, Any], "MetricsWriter"], tuple[TrainState, Metrics]]
    validate: Callable[[TrainState], Metrics] | None
    steps: int
    seconds: float = 0.0
    log_every: int = 1
    validate_every: int = 0
    base: str = ""


def run(
    stage: Stage, config: ConfigDict, workdir: str, state: TrainState, batches: Batches
) -> TrainState:
    """Runs a stage to its end, from its newest checkpoint if there is one.

    Args:
      stage: see `Stage`.
      config: reads `checkpoint.{every_steps,keep}`; stored in every checkpoint.
      workdir: gets `metrics.jsonl`, TensorBoard events and `checkpoints/`.
      state: the state before the first update; its structure also tells how to restore.
      batches: the training data, at its beginning.

    Returns:
      The state after the last update; it is saved.

    Raises:
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    with Checkpoints(workdir, stage.name, config.checkpoint.keep) as checkpoints:
        state, elapsed = _restore(checkpoints, state, batches)
        start = int(jax.device_get(state.step))
        clock = time.monotonic() - elapsed

        def save(step: int) -> None:
            extra = {
                "config": config.to_dict(),
                "base": stage.base,
                "data": batches.get_state(),
                "seconds": time.monotonic() - clock,
            }
            checkpoints.save(step, state._asdict(), extra)

        with StopSignal() as stop, MetricsWriter(workdir, stage.name, start) as metrics:
            step = start
            if start == 0:
                _validate(stage, state, 0, metrics)
            bar = _bar(stage, start)
            while step < stage.steps and not _out_of_time(stage, clock):
                state, step = _one_step(stage, state, step, batches, metrics, bar), step + 1
                bar.update(_progress(stage, step, clock) - bar.n)
                if stop.requested or step % config.checkpoint.every_steps == 0:
                    save(step)
                if stop.requested:
                    checkpoints.wait()
                    raise StopRequested(stop.requested)
            bar.close()
            if step > start or start == 0:
                save(step)
            _report_bad_videos(batches)
    return state


def _restore(
    checkpoints: Checkpoints, state: TrainState, batches: Batches
) -> tuple[TrainState, float]:
    """The newest checkpoint's state, data position and seconds spent; or the beginning."""
    if checkpoints.latest_step() is None:
        return state, 0.0
    restored, extra = checkpoints.restore(like=state._asdict())
    batches.set_state(extra["data"])
    logging.info("going on from step %d of %s", restored["step"], checkpoints.folder)
    return TrainState(**restored), extra["seconds"]


def _one_step(
    stage: Stage,
    state: TrainState,
    step: int,
    batches: Batches,
    metrics: MetricsWriter,
    bar: tqdm,
) -> TrainState:
    waited = batches.wait_seconds
    batch = next(batches)
    state, values = stage.advance(state, batch, metrics)
    step += 1
    if step % stage.log_every == 0 or step == stage.steps:
        values = jax.device_get(dict(values)) | {
            "data/bad_videos": batches.bad_videos,
            "data/wait_seconds": batches.wait_seconds - waited,
            "time/data": batches.wait_seconds - waited,
        }
        metrics.write(step, values)
        bar.set_postfix(loss=f"{float(values['loss']):.3f}", refresh=False)
    if stage.validate_every and (step % stage.validate_every == 0 or step == stage.steps):
        _validate(stage, state, step, metrics)
    return state


def _validate(stage: Stage, state: TrainState, step: int, metrics: MetricsWriter) -> None:
    if stage.validate is not None and stage.validate_every:
        metrics.write(step, stage.validate(state))


def _bar(stage: Stage, start: int) -> tqdm:
    """Counts seconds where they limit the stage, else steps."""
    if stage.seconds:
        return tqdm(total=round(stage.seconds), desc=stage.name, unit="s")
    return tqdm(total=stage.steps, initial=start, desc=stage.name, unit="step")


def _progress(stage: Stage, step: int, clock: float) -> int:
    spent = round(min(time.monotonic() - clock, stage.seconds))
    return spent if stage.seconds else step


def _out_of_time(stage: Stage, clock: float) -> bool:
    return bool(stage.seconds) and time.monotonic() - clock >= stage.seconds


def _report_bad_videos(batches: Batches) -> None:
    if batches.bad_videos:
        logging.warning("%d unreadable videos were skipped", batches.bad_videos)
