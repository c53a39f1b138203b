"""Records real steps of the stage "rl" under JAX's profiler, without changing the run."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
from jax import monitoring
from ml_collections import ConfigDict

from orl_jax.data.frame_cache import FrameCache
from orl_jax.performance.profiling import scopes, trace
from orl_jax.rl import stage as rl
from orl_jax.run import checkpoint
from orl_jax.run.errors import UserError
from orl_jax.run.metrics import MetricsWriter
from orl_jax.training import loop

FOLDER = "trace"
COMPILED = "/jax/core/compile/backend_compile_duration"


class Recording(NamedTuple):
    """A recorded trace.

    Attributes:
      path: of the trace.
      compiled: names of the functions that were compiled during the traced steps.
      sources: (program, operation) -> source; see `scopes`.
    """

    path: pathlib.Path
    compiled: list[str]
    sources: dict[tuple[str, str], str]


def record(
    config: ConfigDict,
    workdir: str,
    *,
    base: str = "",
    steps: int,
    warmup: int,
) -> Recording:
    """Runs `warmup` steps, then `steps` steps under the profiler.

    Args:
      config: of the run.
      workdir: only WORKDIR/trace is written: no checkpoints, no metrics.
      base: the checkpoint to start from; "" is `rl.init_from`, or WORKDIR/checkpoints/sft.
      steps: number of steps to trace.
      warmup: number of steps before these, in which functions are compiled.

    Raises:
      UserError: no such checkpoint; fewer than one step.

    Example: `record(config, "runs/profile", base="runs/demo/checkpoints/sft", steps=3, warmup=3)`.
    """
    _check(steps, warmup)
    folder = pathlib.Path(workdir) / FOLDER
    config = _for_steps(config, workdir, base, steps + warmup)
    metrics = MetricsWriter(str(folder), "rl", active=False)
    with rl.opened(config, str(folder), FrameCache(config.data.cache_mb)) as opening:
        stage, state, batches = opening
        for step in range(warmup):
            state, values = loop.traced_step(stage, state, step, batches, metrics)
        jax.block_until_ready((state, values) if warmup else state)
        with _compilations() as compiled, _profiler(folder):
            for step in range(warmup, warmup + steps):
                state, values = loop.traced_step(stage, state, step, batches, metrics)
            jax.block_until_ready((state, values))
        sources = scopes.sources()  # while the programs are alive
    return Recording(trace.newest(folder), compiled, sources)


def _check(steps: int, warmup: int) -> None:
    for name, value, low in (("steps", steps, 1), ("warmup", warmup, 0)):
        if value < low:
            raise UserError(f"--{name}={value}; it must be at least {low}")


def _for_steps(config: ConfigDict, workdir: str, base: str, steps: int) -> ConfigDict:
    """The config with the checkpoint, and one step more, because `oracle.lag` samples ahead."""
    base = base or config.rl.init_from or str(pathlib.Path(workdir) / "checkpoints" / "sft")
    checkpoint.locate(base)  # raises before anything is loaded
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.rl.init_from = base
        config.rl.epochs = 0
        config.rl.steps = max(config.rl.steps, steps + 1)
    return config


@contextlib.contextmanager
def _profiler(folder: pathlib.Path) -> Iterator[None]:
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # tracing every Python call slows down the host
    with jax.profiler.trace(folder, profiler_options=options):
        yield


@contextlib.contextmanager
def _compilations() -> Iterator[list[str]]:
    """Collects the names of the functions that are compiled inside the context."""
    names: list[str] = []

    def listen(event: str, _: float, **details: str | int) -> None:
        if event == COMPILED:
            names.append(str(details.get("fun_name", "")))

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        monitoring.unregister_event_duration_listener(listen)
