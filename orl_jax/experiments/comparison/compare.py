"""The comparison from end to end: jobs, runs, one JSON, one table, one picture."""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from orl_jax.experiments.comparison import picture, schedule, summary, table
from orl_jax.experiments.comparison.arms import make_jobs
from orl_jax.run.checkpoint import locate
from orl_jax.run.config import write
from orl_jax.run.errors import Failure, UserError
from orl_jax.run.files import write_atomic, write_json
from orl_jax.run.reading import read_json


def run(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Runs every arm and seed of `config.compare` that has no result yet, and summarises.

    Raises:
      UserError: no section `compare`, a start that is no checkpoint, arms that break a rule.
      Failure: runs failed; the others, if any, are summarised first.
    """
    if "compare" not in config:
        raise UserError("the config has no section compare; take configs/compare.py:forms")
    jobs, folder = make_jobs(config, workdir), pathlib.Path(workdir)
    locate(config.compare.start)
    write(config, workdir)
    start = schedule.evaluate_start(config, workdir)
    failed = schedule.run_all(config, jobs, workdir)
    results = [read_json(job.result, schedule.RERUN) for job in jobs if job.result.is_file()]
    if not results:
        raise Failure(f"no run has a result; the first error: {next(iter(failed.values()))}")
    found = summary.summarise(results, start, config.compare.split, config.compare.baseline)
    found["failed"] = failed
    write_json(folder / "results.json", found)
    write_atomic(folder / "table.md", table.to_markdown(found))
    picture.draw(found, folder / "comparison.png", title=f"{len(results)} runs, {workdir}")
    print(table.to_markdown(found))
    print(f"results.json, table.md and comparison.png are in {folder}")
    if failed:
        where, error = next(iter(failed.items()))
        raise Failure(f"{len(failed)} of {len(jobs)} runs failed, the first in {where}: {error}")
    return found
