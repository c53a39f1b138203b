"""A trained Oracle: a ranker that learns from answers in a known order.

    python scripts/make_preferences.py --config=configs/demo.py --workdir=runs/demo
    python scripts/train_oracle.py --config=configs/demo.py --workdir=runs/demo

Use it with --config.oracle.name=ranker --config.oracle.checkpoint=runs/demo/checkpoints/oracle.
"""

from ml_collections import ConfigDict

from orl_jax.rl import ranker
from orl_jax.run import cli


def main(config: ConfigDict, workdir: str) -> None:
    """Runs the stage, from its newest checkpoint if there is one."""
    ranker.train(config, workdir)


if __name__ == "__main__":
    cli.run(main, script="train_oracle")
