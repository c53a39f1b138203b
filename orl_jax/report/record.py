"""The files of a workdir, read for the report; whatever is missing stays empty."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from orl_jax.run.errors import UserError
from orl_jax.run.files import readable_json_lines
from orl_jax.run.reading import read_json

# A long run leaves thousands of rollout files; this many, evenly spaced, show the same.
MAX_ROLLOUT_STEPS = 200

Json = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Record:
    """A workdir in memory.

    Attributes:
      workdir: where it was read from.
      results: `results.json`, or {}.
      config: the resolved config, from `results.json` or `config.json`, or {}.
      metrics: rows of `metrics.jsonl`, in file order.
      control: rows of `control/metrics.jsonl`, the control's own training run.
      rollouts: step -> the groups of `rollouts/STEP.jsonl`, in order of steps.
      predictions: "sft_test" and so on -> item id -> row of `predictions/sft_test.jsonl`.
      unreadable: lines that are not JSON, as a run that was cut off leaves them.
    """

    workdir: pathlib.Path
    results: Json
    config: Json
    metrics: Sequence[Json]
    control: Sequence[Json]
    rollouts: Mapping[int, Sequence[Json]]
    predictions: Mapping[str, Mapping[str, Json]]
    unreadable: int

    def rollout_steps(self) -> list[int]:
        """Steps with at least one group, ascending."""
        return sorted(step for step, groups in self.rollouts.items() if groups)

    def setting(self, *keys: str) -> Any:
        """The value of the config at a path of keys; None where the run left no such key.

        Example: `record.setting("rl", "advantage", "form") == "signed"`.
        """
        found: Any = self.config
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                return None
            found = found[key]
        return found


def read_record(workdir: pathlib.Path) -> Record:
    """Reads what there is of `workdir`.

    Example: `read_record(pathlib.Path("runs/demo")).results["rl"]["accuracy"]`.
    """
    lines = _Lines()
    results = _read_json(workdir / "results.json")
    config = results.get("config") or _read_json(workdir / "config.json")
    return Record(
        workdir=workdir,
        results=results,
        config=config,
        metrics=lines.read(workdir / "metrics.jsonl"),
        control=lines.read(workdir / "control" / "metrics.jsonl"),
        rollouts={step: lines.read(path) for step, path in _rollout_files(workdir)},
        predictions={
            path.stem: {row["item_id"]: row for row in lines.read(path) if "item_id" in row}
            for path in sorted((workdir / "predictions").glob("*.jsonl"))
        },
        unreadable=lines.unreadable,
    )


def series(rows: Sequence[Json], stage: str, key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one metric in one stage, ascending in steps.

    A run that was stopped and resumed logs some steps twice; the later row counts. Values that are
    not finite come back as NaN, so that a curve shows a gap there.
    """
    found = {}
    for row in rows:
        value = row.get(key)
        if row.get("stage") == stage and isinstance(value, int | float) and "step" in row:
            found[float(row["step"])] = float(value) if math.isfinite(value) else math.nan
    steps = sorted(found)
    return steps, [found[step] for step in steps]


def _rollout_files(workdir: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    found = (workdir / "rollouts").glob("*.jsonl")
    files = sorted((int(path.stem), path) for path in found if path.stem.isdigit())
    if len(files) <= MAX_ROLLOUT_STEPS:
        return files
    last = MAX_ROLLOUT_STEPS - 1
    return [files[round(i * (len(files) - 1) / last)] for i in range(MAX_ROLLOUT_STEPS)]


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except UserError:
        return {}


class _Lines:
    """Reads JSON lines and counts those that cannot be read."""

    def __init__(self) -> None:
        self.unreadable = 0

    def read(self, path: pathlib.Path) -> list[dict[str, Any]]:
        rows, unreadable = readable_json_lines(path)
        self.unreadable += unreadable
        return rows
