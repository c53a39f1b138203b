"""What a comparison found: means over seeds with their intervals, as `results.json` holds them."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from orl_jax.report.statistics import interval

MEASURES = ("accuracy", "sampled_accuracy", "fact_score", "sampled_fact_score", "words")
_over_seeds = functools.partial(interval, resamples=10_000)


def summarise(
    results: Sequence[dict[str, Any]], start: dict[str, Any], split: str, baseline: str
) -> dict[str, Any]:
    """The comparison's `results.json`.

    Args:
      results: the runs' own results.
      start: splits of the checkpoint that all began from.
      split: the split that the tables show.
      baseline: the arm that the others are compared with, seed by seed; None against itself.

    Returns:
      {"start", "split", "measure", "arms": {name: {"seeds", "splits": {split: {"accuracy":
      interval, …}}, "categories", "against_baseline", …}}}. The measure of the categories and of
      "against_baseline" is "accuracy", or "fact_score" where the split has it (descriptions).
    """
    arms: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        arms.setdefault(result["arm"], []).append(result)
    reference = {run["seed"]: run for run in arms.get(baseline, [])}
    measure = "fact_score" if "fact_score" in start[split] else "accuracy"
    return {
        "start": start,
        "split": split,
        "measure": measure,
        "baseline": baseline,
        "arms": {
            name: _arm(
                sorted(runs, key=lambda run: run["seed"]),
                reference if name != baseline else {},
                split,
                measure,
            )
            for name, runs in arms.items()
        },
    }


def _arm(
    runs: list[dict[str, Any]], reference: dict[int, dict[str, Any]], split: str, measure: str
) -> dict[str, Any]:
    paired = [
        run["splits"][split][measure] - reference[run["seed"]]["splits"][split][measure]
        for run in runs
        if run["seed"] in reference
    ]
    names = runs[0]["splits"][split]["categories"]
    return {
        "seeds": [run["seed"] for run in runs],
        "queries": runs[0]["queries"],
        "seconds": _over_seeds([run["seconds"]["training"] for run in runs]),
        "splits": {
            name: {
                key: _over_seeds([run["splits"][name][key] for run in runs])
                for key in MEASURES
                if key in runs[0]["splits"][name]
            }
            for name in runs[0]["splits"]
        },
        "categories": {
            name: _over_seeds([run["splits"][split]["categories"][name][measure] for run in runs])
            for name in names
            if measure in runs[0]["splits"][split]["categories"][name]
        },
        "against_baseline": _over_seeds(paired) if paired else None,
        "first_direction": _mean_of(run["first_direction"] for run in runs),
        "last": {key: _mean_of(run["last"].get(key) for run in runs) for key in runs[0]["last"]},
        "alarms": _alarms(runs),
        "curves": _curves(runs),
    }


def _mean_of(values: Any) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _alarms(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each monitor with an alarm: in how many runs, and the earliest step."""
    names = sorted({name for run in runs for name in run["alarms"]})
    return {
        name: {
            "runs": sum(name in run["alarms"] for run in runs),
            "step": min(run["alarms"][name] for run in runs if name in run["alarms"]),
        }
        for name in names
    }


def _curves(runs: list[dict[str, Any]]) -> dict[str, list[dict[str, float]]]:
    """Means over the seeds at the steps that all of them have (controls' steps differ)."""
    curves = {}
    for name in runs[0]["curves"]:
        tables = [dict(map(tuple, run["curves"][name])) for run in runs]
        shared = sorted(set.intersection(*map(set, tables)))
        curves[name] = [{"step": s, **_over_seeds([table[s] for table in tables])} for s in shared]
    return curves
