"""One run of a comparison: trained, evaluated, summarised in `result.json`.

Imports jax, so only worker processes import it.
"""

import pathlib
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from orl_jax.data.frame_cache import FrameCache
from orl_jax.evaluation.evaluate import evaluate
from orl_jax.experiments.comparison.arms import Job, config_of, evaluation_config
from orl_jax.rl import stage as rl
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.files import read_json_lines, write_json
from orl_jax.run.metrics import read_metrics
from orl_jax.training import sft

CURVES = ("validation/accuracy", "validation/sampled_accuracy")
FACT_CURVES = ("validation/fact_score", "validation/sampled_fact_score")  # of descriptions
DIRECTION = "advantage/oracle_correlation"
LAST = ("kl", "entropy", "response/length_mean", "monitor/alarms")


def run_job(config: ConfigDict, job: Job, cache: FrameCache, seconds: float = 0.0) -> None:
    """Trains and evaluates one run, resuming where an earlier session stopped.

    Args:
      config: the comparison's.
      cache: frames that the runs of this process share.
      seconds: of an SFT control.
    """
    begin = time.monotonic()
    settings = config_of(config, job, seconds)
    stage = {"rl": rl, "sft": sft}[job.stage]
    stage.train(settings, job.folder, cache)
    checkpoint = pathlib.Path(job.folder) / "checkpoints" / job.stage
    result = {
        "arm": job.arm,
        "stage": job.stage,
        "seed": job.seed,
        "queries": _queries(settings, job),
        "seconds": {"training": _spent(job), "run": time.monotonic() - begin},
        "splits": _evaluate(settings, checkpoint, cache, job.folder),
        **_history(job),
    }
    write_json(job.result, result)
    jax.clear_caches()  # another arm compiles other programs


def evaluate_start(config: ConfigDict, cache: FrameCache) -> dict[str, Any]:
    """The splits' accuracies of the checkpoint that all runs begin from."""
    return _evaluate(config, config.compare.start, cache)


def _evaluate(
    config: ConfigDict,
    checkpoint: str | pathlib.Path,
    cache: FrameCache,
    workdir: str | None = None,
) -> dict[str, Any]:
    settings = evaluation_config(config)
    splits = config.compare.splits
    found = evaluate(
        settings, checkpoint, splits=splits, workdir=workdir, cache=cache, progress=False
    )
    return found["splits"]


def _queries(settings: ConfigDict, job: Job) -> int:
    rl_settings = settings.rl
    per_step = rl_settings.batch_size * rl_settings.group_size
    return per_step * rl_settings.steps if job.stage == "rl" else 0


def _spent(job: Job) -> float:
    with Checkpoints(job.folder, job.stage) as checkpoints:
        return round(checkpoints.restore_extra()["seconds"], 3)


def _history(job: Job) -> dict[str, Any]:
    """Learning curves, the first step's direction, the last step's state, the alarms' names."""
    rows = read_metrics(job.folder, job.stage)
    steps = [row for row in rows if "loss" in row]
    names = CURVES + tuple(name for name in FACT_CURVES if any(name in row for row in rows))
    curves = {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}
    directions = [row[DIRECTION] for row in steps if DIRECTION in row]
    return {
        "curves": curves,
        "first_direction": directions[0] if directions else None,
        "last": {name: steps[-1][name] for name in LAST if steps and name in steps[-1]},
        "alarms": _alarms(job),
    }


def _alarms(job: Job) -> dict[str, int]:
    """The first step at which each monitor raised an alarm, for those that did."""
    path = pathlib.Path(job.folder) / "alarms.jsonl"
    alarms = [row for _, row in read_json_lines(path)] if path.is_file() else []
    return {alarm["name"]: alarm["step"] for alarm in reversed(alarms)}
