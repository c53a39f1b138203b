"""Restores a checkpoint and evaluates it; writes `results.json` to the workdir.

    python scripts/evaluate.py --checkpoint=runs/demo/checkpoints/rl --workdir=runs/evaluation

The model's configuration comes from the checkpoint; `--config` says where the data is.
"""

import json
import pathlib

from absl import flags
from ml_collections import ConfigDict

from orl_jax import cli
from orl_jax.errors import UserError
from orl_jax.evaluation.evaluate import SPLITS, evaluate
from orl_jax.sharding import processes

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "WORKDIR/checkpoints/STAGE[/STEP].")
SPLIT = flags.DEFINE_list("split", list(SPLITS), "Splits, separated by commas.")


def main(config: ConfigDict, workdir: str) -> None:
    """Evaluates `--checkpoint` on `--split`."""
    if not CHECKPOINT.value:
        raise UserError(
            "--checkpoint is missing; for example --checkpoint=runs/demo/checkpoints/rl"
        )
    results = evaluate(config, CHECKPOINT.value, splits=SPLIT.value, workdir=workdir)
    if not processes.is_writer():
        return
    path = pathlib.Path(workdir) / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    for split in results["splits"].values():
        print(f"{split['split']}: {split['accuracy']:.1%} of {split['n']} answers are right")
        for name, share in split["categories"].items():
            print(f"  {name:24} {share['accuracy']:6.1%} of {share['n']}")
    print(f"results are in {path}")


if __name__ == "__main__":
    cli.run(main, default_config="configs/demo.py")
