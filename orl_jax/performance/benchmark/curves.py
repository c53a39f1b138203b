"""Seconds of the whole step as a function of each size, and how they grow."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from orl_jax.performance.benchmark.compiled_steps import CompiledSteps
from orl_jax.performance.benchmark.run_arrays import RunArrays
from orl_jax.performance.benchmark.stages import step_call
from orl_jax.performance.benchmark.timing import timed
from orl_jax.performance.plan.shapes import Shapes
from orl_jax.run.errors import UserError

# Name of the axis -> the key of the config that it changes, and its values.
AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "frames": ("data.frames", (8, 16, 32, 64)),
    "group": ("rl.group_size", (2, 4, 8, 16)),
    "response": ("rl.max_response_tokens", (16, 32, 64, 128, 256)),
    "prefix": ("data.prompt_tokens", (128, 320, 800, 1600, 3200)),
    "prompts": ("rl.batch_size", (2, 4, 8, 16)),
}
# The other sizes while one is changed.
BASE = {
    "data.frames": 8, "data.prompt_tokens": 128, "rl.group_size": 4, "rl.batch_size": 4,
    "rl.max_response_tokens": 32, "rl.micro_batch": 0,
}  # fmt: skip
Progress = Callable[[Sequence[Any]], Any]


def check_axes(names: Sequence[str]) -> None:
    """Refuses unknown axes.

    Raises:
      UserError: names the first unknown one, and all known ones.
    """
    if unknown := [name for name in names if name not in AXES]:
        raise UserError(f"there is no curve {unknown[0]!r}; choose some of {', '.join(AXES)}")


def measure(
    shapes_of: Callable[[dict[str, int]], Shapes],
    names: Sequence[str],
    repeats: int,
    progress: Progress = iter,
) -> dict[str, Any]:
    """A curve for each axis.

    Args:
      shapes_of: shapes of a small model with the given sizes, by key of the config; those of `BASE`
        except for one.
      names: some of `AXES`.
      progress: wraps the points.

    Example: `measure(shapes_of, ["group"], 3)["group"]["exponent"]`.
    """
    points: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for name, value in progress(list(_points(names))):
        shapes = shapes_of({**BASE, AXES[name][0]: value})
        timing = timed(step_call(RunArrays(shapes, CompiledSteps(shapes))), repeats)
        points[name].append({"value": value, **timing.to_dict()})
    return {name: {"points": found, **_fitted(found)} for name, found in points.items()}


def _points(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    return ((name, value) for name in names for value in AXES[name][1])


def _fitted(points: Sequence[dict[str, Any]]) -> dict[str, float]:
    values, medians = ([point[key] for point in points] for key in ("value", "median"))
    ends = values[-2:], medians[-2:]
    return {"exponent": exponent(values, medians), "end_exponent": exponent(*ends)}


def exponent(values: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of log seconds against log values: 1 is linear, less means fixed costs.

    Example: `exponent([1, 2, 4], [3, 6, 12])` is 1.
    """
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])
