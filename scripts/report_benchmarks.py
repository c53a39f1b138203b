r"""Evaluations on benchmarks as one page that opens offline: tables, pictures, examples.

    python scripts/report_benchmarks.py --evaluation=SFT=runs/x/sft_evaluation \
        --evaluation=RL=runs/x/rl_evaluation --workdir=runs/report

Reads what scripts/evaluate.py wrote, and the verdicts that scripts/score.py --protocol=judge wrote
next to it; needs no checkpoint and asks no judge. Writes benchmarks.html, benchmarks.md and
benchmarks.json (docs/evaluation.md). Clips are those of the data that were evaluated on; if they
have moved, `--config.data.folder=…` says where they are.
"""

import logging
import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict

from orl_jax.data.video import ClipFormat
from orl_jax.evaluation.benchmarks.benchmarks import read_benchmarks
from orl_jax.evaluation.benchmarks.evaluations import (
    Evaluation,
    choose_baseline,
    read_evaluations,
)
from orl_jax.evaluation.benchmarks.report import write_report
from orl_jax.evaluation.benchmarks.summary import summary_table
from orl_jax.evaluation.scoring.judging import Settings
from orl_jax.report.frames import Frames
from orl_jax.run import cli
from orl_jax.run.command_line import is_overridden
from orl_jax.run.errors import UserError

EVALUATION = flags.DEFINE_multi_string(
    "evaluation",
    [],
    "NAME=WORKDIR of scripts/evaluate.py; may be repeated, also with the same NAME.",
)
BASELINE = flags.DEFINE_string(
    "baseline", None, "The NAME to compare with; by default the first one."
)
EXAMPLES = flags.DEFINE_integer("examples", 3, "Items to show of each kind and task type.")
SEED = flags.DEFINE_integer("seed", 0, "Of the choice of items to show.")


def main(config: ConfigDict, workdir: str) -> None:
    """Reads `--evaluation`, prints the first table, writes the report."""
    if EXAMPLES.value < 0:
        raise UserError(f"--examples={EXAMPLES.value} is negative; give 0 for none")
    evaluations = read_evaluations(EVALUATION.value)
    baseline = choose_baseline(evaluations, BASELINE.value)
    judge = Settings.of(config.judge)
    benchmarks = read_benchmarks(evaluations, baseline, judge, progress=True)
    print(summary_table(benchmarks))
    frames = _frames(evaluations, config)
    files = write_report(
        workdir, benchmarks, frames, baseline=baseline, examples=EXAMPLES.value, seed=SEED.value,
        progress=True,
    )  # fmt: skip
    print("\n".join(f"{path.suffix[1:]:5} {path}" for path in files))


def _frames(evaluations: Sequence[Evaluation], config: ConfigDict) -> Frames:
    """Reads clips of the folders that were evaluated on, unless the command line names one."""
    known = dict.fromkeys(one.folder for one in evaluations if one.folder)
    if is_overridden("data.folder") or not known:
        known = {config.data.folder: None}
    logging.info("clips are read from %s", ", ".join(known))
    return Frames([pathlib.Path(folder) for folder in known], ClipFormat.of(config.data))


if __name__ == "__main__":
    cli.run(main, default_config="configs/demo.py", script="report_benchmarks")
