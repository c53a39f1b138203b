r"""Supervised fine-tuning with the easy-to-hard curriculum.

python scripts/train_sft.py --config=configs/demo.py --workdir=runs/demo \
  --config.sft.init_from=runs/demo/checkpoints/vision
"""

from ml_collections import ConfigDict

from orl_jax.run import cli
from orl_jax.training import sft


def main(config: ConfigDict, workdir: str) -> None:
    """Runs the stage, from its newest checkpoint if there is one."""
    sft.train(config, workdir)


if __name__ == "__main__":
    cli.run(main, script="train_sft")
