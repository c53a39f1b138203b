"""Vision warm-up of the embedded world's encoder and adapter.

python scripts/train_vision.py --config=configs/demo.py --workdir=runs/demo
"""

from ml_collections import ConfigDict

from orl_jax.run import cli
from orl_jax.training import vision


def main(config: ConfigDict, workdir: str) -> None:
    """Runs the stage, from its newest checkpoint if there is one."""
    vision.train(config, workdir)


if __name__ == "__main__":
    cli.run(main, script="train_vision")
