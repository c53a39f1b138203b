"""The demo: every stage in turn, a control beside RL, and a report.

Each stage does what its script does; a finished stage is skipped, an interrupted one resumed.
"""

import logging
import os
import pathlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from ml_collections import ConfigDict

from orl_jax.data.prepare import prepare
from orl_jax.evaluation.evaluate import evaluate
from orl_jax.report.html import write_report
from orl_jax.report.table import accuracy_table
from orl_jax.rl import stage as rl
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.config import write
from orl_jax.run.files import write_json
from orl_jax.training import sft, vision


def run(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Runs the demo in `workdir` and returns what it writes to `results.json`.

    Leaves `checkpoints/{vision,sft,rl}`, `control/` (the control's own workdir),
    `predictions/`, `rollouts/`, `metrics.jsonl`, TensorBoard events and `report.html`. Prints the
    table and where the report is.
    """
    begin = time.monotonic()
    folder = pathlib.Path(workdir)
    write(config, workdir)
    if not jax.config.jax_compilation_cache_dir:  # a folder that is given from outside is kept
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    seconds: dict[str, float] = {}
    with _stage("data: clips, mp4 files, questions", "data", seconds):
        prepare(config)
    with _stage("vision warm-up: the small encoder and adapter", "vision", seconds):
        vision.train(config, workdir)
    with _stage("SFT on partly wrong answers", "sft", seconds):
        sft_config = _with(config, "sft", init_from=str(folder / "checkpoints" / "vision"))
        sft.train(sft_config, workdir)
    with _stage("RL: GRPO_rank with the Oracle's ranks", "rl", seconds):
        rl.train(config, workdir)
    with _stage("control: the same seconds of more SFT", "control", seconds):
        control = control_config(config, folder, _spent(workdir, "rl"))
        write(control, str(folder / "control"))
        sft.train(control, str(folder / "control"))
    results: dict[str, Any] = {}
    with _stage("evaluation on held-out clips", "eval", seconds):
        for name, run_folder, stage in (
            ("sft", folder, "sft"),
            ("rl", folder, "rl"),
            ("control", folder / "control", "sft"),
        ):
            path = run_folder / "checkpoints" / stage
            results[name] = evaluate(config, path, name=name, workdir=workdir)
    results["seconds"] = seconds | {"total": time.monotonic() - begin}
    results["config"] = config.to_dict()
    write_json(folder / "results.json", results)
    shutil.rmtree(folder / "compiled", ignore_errors=True)
    report = write_report(workdir, data_folder=config.data.folder)
    print(accuracy_table(results))
    print(f"\nThe report is {report}")
    return results


def control_config(config: ConfigDict, folder: pathlib.Path, seconds: float) -> ConfigDict:
    """More SFT for `seconds`, from the SFT checkpoint in `folder`, on all questions."""
    return _with(
        config,
        "sft",
        init_from=str(folder / "checkpoints" / "sft"),
        seconds=seconds,
        steps=1_000_000,
        curriculum=((1.0, (1, 2)),),
        **config.control,
    )


def _with(config: ConfigDict, section: str, **values: Any) -> ConfigDict:
    changed = config.copy_and_resolve_references()
    with changed.unlocked():
        changed[section].update(values)
    return changed


def _spent(workdir: str | os.PathLike[str], stage: str) -> float:
    """The seconds that a finished stage took, over all its sessions; 3 decimals."""
    with Checkpoints(os.fspath(workdir), stage) as checkpoints:
        return round(checkpoints.restore_extra()["seconds"], 3)


@contextmanager
def _stage(title: str, name: str, seconds: dict[str, float]) -> Iterator[None]:
    logging.info("%s", title)
    begin = time.monotonic()
    yield
    seconds[name] = time.monotonic() - begin
