"""Seconds of the whole step against one size after the other, and how they grow."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.performance.benchmark.compiled_steps import CompiledSteps
from orl_jax.performance.benchmark.run_arrays import RunArrays
from orl_jax.performance.benchmark.stages import step_call
from orl_jax.performance.benchmark.timing import timed
from orl_jax.performance.plan.shapes import Shapes, tokens_of
from orl_jax.run.errors import UserError

# Values by the name of the axis, and the config's key that it changes.
AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "frames": ("data.frames", (8, 16, 32, 64)),
    "group": ("rl.group_size", (2, 4, 8, 16)),
    "response": ("rl.max_response_tokens", (16, 32, 64, 128, 256)),
    "prefix": ("data.prompt_tokens", (128, 320, 800, 1600, 3200)),
    "prompts": ("rl.batch_size", (2, 4, 8, 16)),
}
# The other sizes meanwhile.
BASE = {
    "data.frames": 8, "data.prompt_tokens": 128, "rl.group_size": 4, "rl.batch_size": 4,
    "rl.max_response_tokens": 32, "rl.micro_batch": 0,
}  # fmt: skip
Progress = Callable[[Sequence[Any]], Any]


def check_axes(names: Sequence[str]) -> None:
    """Refuses axes that there are not.

    Raises:
      UserError: names the first, and all that there are.
    """
    if unknown := [name for name in names if name not in AXES]:
        raise UserError(f"there is no curve {unknown[0]!r}; choose some of {', '.join(AXES)}")


def measure(
    config: ConfigDict,
    devices: Sequence[Any],
    vocabulary: int,
    names: Sequence[str],
    repeats: int,
    progress: Progress = iter,
) -> dict[str, Any]:
    """A curve for each axis.

    Args:
      config: with a model as small as time allows; the sizes are those of `BASE`.
      devices, vocabulary: as `Shapes` takes them.
      names: of `AXES`.
      progress: wraps the points.

    Example: `measure(config, jax.devices(), 128, ["group"], 3)["group"]["exponent"]`.
    """
    points: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for name, value in progress(list(_points(names))):
        changed = sized(config, {**BASE, AXES[name][0]: value})
        shapes = Shapes(changed, tokens_of(changed, vocabulary), devices)
        timing = timed(step_call(RunArrays(shapes, CompiledSteps(shapes))), repeats)
        points[name].append({"value": value, **timing.to_dict()})
    return {name: {"points": found, **_fitted(found)} for name, found in points.items()}


def _points(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    return ((name, value) for name in names for value in AXES[name][1])


def sized(config: ConfigDict, sizes: dict[str, int]) -> ConfigDict:
    """The config with other sizes; a video and some text go into every prompt."""
    changed = config.copy_and_resolve_references().unlock()
    changed.update_from_flattened_dict(sizes)
    least = VlmSettings.from_config(changed).visual_tokens + 8
    changed.data.prompt_tokens = max(changed.data.prompt_tokens, least)
    return changed.lock()


def _fitted(points: Sequence[dict[str, Any]]) -> dict[str, float]:
    values, medians = ([point[key] for point in points] for key in ("value", "median"))
    ends = values[-2:], medians[-2:]
    return {"exponent": exponent(values, medians), "end_exponent": exponent(*ends)}


def exponent(values: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log values: 1 is linear, below it there are fixed costs.

    Example: `exponent([1, 2, 4], [3, 6, 12])` is 1.
    """
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])
