"""Runs the jobs of a comparison in worker processes, as many at a time as there are cores.

A worker is bound to its share of the cores, because two small programs on a core each get more done
than one after the other on two. Finished work is kept: a job with a result is not run again, and an
interrupted one resumes from its checkpoint.
"""

import logging
import multiprocessing
import os
import pathlib
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.experiments.comparison.arms import Job
from orl_jax.run.files import write_json
from orl_jax.run.reading import read_json
from orl_jax.run.stop import StopRequested

RERUN = "delete it to repeat that run"
_worker: dict[str, Any] = {}  # of a worker process: its config, its frame cache


def run_all(config: ConfigDict, jobs: Sequence[Job], workdir: str) -> dict[str, str]:
    """Runs every job that has no result yet; shows progress.

    Returns:
      The failed jobs' errors in one line, by folder. They do not hold up the other jobs.
    """
    todo = [job for job in jobs if not job.result.is_file()]
    failed: dict[str, str] = {}
    with (
        _executor(config, workdir) as executor,
        tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc="runs", unit="run") as bar,
    ):
        try:
            for stage in ("rl", "sft"):  # controls take as many seconds as RL took
                of_stage = [job for job in todo if job.stage == stage]
                futures = {
                    executor.submit(_run, job, _seconds(config, job, jobs)): job for job in of_stage
                }
                for future in as_completed(futures):
                    _note(future, futures[future], failed)
                    bar.update()
        except (KeyboardInterrupt, SystemExit):
            executor.shutdown(wait=True, cancel_futures=True)
            logging.info("stopped; the same command resumes with the runs that are left")
            raise
    return failed


def evaluate_start(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """The accuracies of the start, computed once and kept in WORKDIR/start.json."""
    path = pathlib.Path(workdir) / "start.json"
    if not path.is_file():
        with _executor(config, workdir, workers=1) as executor:
            write_json(path, executor.submit(_evaluate_start).result())
    return read_json(path, "delete it to evaluate the start again")


def _executor(config: ConfigDict, workdir: str, workers: int = 0) -> ProcessPoolExecutor:
    """Processes that each have a share of the cores; spawned, since jax does not survive a fork."""
    os.environ["TQDM_DISABLE"] = "1"  # read where a worker imports tqdm; our own bar stays
    cores = sorted(os.sched_getaffinity(0))
    count = workers or config.compare.workers or len(cores)
    context = multiprocessing.get_context("spawn")
    shares = context.SimpleQueue()
    for index in range(count):
        shares.put(cores[index::count] or cores)
    return ProcessPoolExecutor(
        count, context, _start_worker, (config.to_json_best_effort(), shares, workdir)
    )


def _start_worker(config: str, shares: Any, workdir: str) -> None:
    """Binds the process to its cores, before jax counts them."""
    os.sched_setaffinity(0, shares.get())
    import jax

    from orl_jax.data.frame_cache import FrameCache
    from orl_jax.run.config import from_json

    if not jax.config.jax_compilation_cache_dir:  # a folder that is given from outside is kept
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(workdir) / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    _worker["config"] = from_json(config)
    _worker["cache"] = FrameCache(_worker["config"].data.cache_mb)


def _run(job: Job, seconds: float) -> str:
    """Runs in a worker. Returns the error as text: some exceptions cannot be pickled."""
    from orl_jax.experiments.comparison.run import run_job

    if job.stage == "sft" and not seconds:
        return f"{_worker['config'].compare.control_of} has no result, so no time to match"
    trace = pathlib.Path(job.folder) / "error.txt"
    trace.unlink(missing_ok=True)
    try:
        run_job(_worker["config"], job, _worker["cache"], seconds)
    except StopRequested as stop:
        return str(stop)
    except Exception as error:  # a run may fail in any way, and the others continue
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def _evaluate_start() -> dict[str, Any]:
    from orl_jax.experiments.comparison.run import evaluate_start as evaluate

    return evaluate(_worker["config"], _worker["cache"])


def _seconds(config: ConfigDict, job: Job, jobs: Sequence[Job]) -> float:
    """For a control, how long the arm `compare.control_of` took with the same seed; else 0."""
    if job.stage != "sft":
        return 0.0
    wanted = (config.compare.control_of, job.seed)
    of_it = [other.result for other in jobs if (other.arm, other.seed) == wanted]
    done = [read_json(path, RERUN) for path in of_it if path.is_file()]
    return done[0]["seconds"]["training"] if done else 0.0


def _note(future: Future, job: Job, failed: dict[str, str]) -> None:
    error = future.result()
    if error:
        failed[job.folder] = error
        logging.warning("%s, seed %d, failed: %s", job.arm, job.seed, error)
