"""From evaluations to the three files of the report."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from orl_jax.evaluation.benchmarks.benchmarks import Benchmark
from orl_jax.evaluation.benchmarks.examples import chapters
from orl_jax.evaluation.benchmarks.markdown import markdown
from orl_jax.evaluation.benchmarks.measures import TITLES, Scored
from orl_jax.evaluation.benchmarks.notes import notes
from orl_jax.evaluation.benchmarks.page import write_page
from orl_jax.evaluation.benchmarks.published import SOURCE
from orl_jax.report.frames import Frames
from orl_jax.run.files import write_atomic


def write_report(
    workdir: str | os.PathLike[str],
    benchmarks: Sequence[Benchmark],
    frames: Frames,
    *,
    baseline: str,
    examples: int = 3,
    seed: int = 0,
    progress: bool = False,
) -> list[pathlib.Path]:
    """Writes `benchmarks.html`, `benchmarks.md` and `benchmarks.json`; makes the folder.

    Args:
      workdir: where to.
      benchmarks: of `read_benchmarks`.
      frames: reads clips, for the examples.
      baseline: the model that others are compared with.
      examples: of each kind and task type.
      seed: of the choice of examples.
      progress: whether to show bars.

    Returns:
      The three files.

    Example: `write_report("runs/report", benchmarks, frames, baseline="SFT")[0].name`.
    """
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    page, text, data = (folder / f"benchmarks.{kind}" for kind in ("html", "md", "json"))
    gallery = {
        each.key: chapters(each, frames, examples=examples, seed=seed, progress=progress)
        for each in benchmarks
    }
    write_page(page, benchmarks, gallery, baseline=baseline, seed=seed)
    write_atomic(text, markdown(benchmarks))
    numbers = {"baseline": baseline, "published": SOURCE, "measures": TITLES}
    numbers |= {"benchmarks": [_numbers(each) for each in benchmarks]}
    write_atomic(data, json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    return [page, text, data]


def _numbers(benchmark: Benchmark) -> dict[str, Any]:
    return {
        "dataset": benchmark.dataset, "split": benchmark.split, "title": benchmark.title,
        "headline": benchmark.headline.measure, "baseline": benchmark.baseline,
        "models": {model: _about(each) for model, each in benchmark.scored.items()},
        "shared": {model: len(pairs) for model, pairs in benchmark.pairs.items()},
        "all": benchmark.all, **benchmark.groups, "notes": notes(benchmark),
    }  # fmt: skip


def _about(scored: Scored) -> dict[str, Any]:
    one, verdicts = scored.evaluation, scored.verdicts
    judge = (
        {"model": verdicts.model, "judged": verdicts.judged, **verdicts.counts}
        if verdicts
        else None
    )
    return {
        "workdir": str(one.workdir), "predictions": str(one.path), "checkpoint": one.checkpoint,
        "items": len(one.items), "skipped": one.skipped, "judge": judge,
    }  # fmt: skip
