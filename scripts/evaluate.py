"""Restores a checkpoint and evaluates it; writes `results.json` to the workdir.

    python scripts/evaluate.py --checkpoint=runs/demo/checkpoints/rl --workdir=runs/evaluation

The model's configuration and the data's folder come from the checkpoint; `--config` says how to
evaluate (docs/evaluation.md), and `--config.data.folder=…` names other data. Answers are saved as
they come, so the same command can resume.
"""

import logging
import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from orl_jax.evaluation.evaluate import evaluate, trained_on
from orl_jax.run import cli, processes
from orl_jax.run.command_line import is_overridden
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "WORKDIR/checkpoints/STAGE[/STEP].")
SPLIT = flags.DEFINE_list(
    "split",
    [],
    "Splits, separated by commas; by default test and composition, as far as they exist.",
)
NAME = flags.DEFINE_string(
    "name", "", "Prefix of the files of predictions; by default the checkpoint's stage."
)


def main(config: ConfigDict, workdir: str) -> None:
    """Evaluates `--checkpoint` on `--split`."""
    if not CHECKPOINT.value:
        raise UserError(
            "--checkpoint is missing; for example --checkpoint=runs/demo/checkpoints/rl"
        )
    if not is_overridden("data.folder"):
        config = trained_on(config, CHECKPOINT.value)
    logging.info("the data are those in %s", config.data.folder)
    if pathlib.Path(NAME.value).name != NAME.value:
        raise UserError(f"--name={NAME.value}: it is a prefix of file names; give a word without /")
    results = evaluate(
        config, CHECKPOINT.value, splits=SPLIT.value, name=NAME.value, workdir=workdir
    )
    if not processes.is_writer():
        return
    path = pathlib.Path(workdir) / "results.json"
    write_json(path, results)
    for split in results["splits"].values():
        _show(split)
    print(f"results are in {path}")


def _show(split: dict[str, Any]) -> None:
    rate = split["items_per_second"]
    speed = f"{rate:.1f} items/s" if rate else "all answered before"
    print(
        f"{split['dataset']}, {split['split']} in {split['folder']}: {split['accuracy']:.1%} of "
        f"{split['n']} answers are right ({speed})"
    )
    for name, share in split["categories"].items():
        print(f"  {name:24} {share['accuracy']:6.1%} of {share['n']}")
    if split["skipped"]:
        print(f"  {len(split['skipped'])} items have no answer: their videos cannot be read")


if __name__ == "__main__":
    cli.run(main, script="evaluate", default_config="configs/demo.py")
