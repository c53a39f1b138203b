"""VLM-RLAIF's scalar reward model, trained on preference pairs.

    python scripts/train_reward.py --config=configs/demo.py --workdir=runs/demo

Use it with --config.oracle.name=reward --config.oracle.checkpoint=runs/demo/checkpoints/reward.
"""

from ml_collections import ConfigDict

from orl_jax.rl import reward
from orl_jax.run import cli


def main(config: ConfigDict, workdir: str) -> None:
    """Runs the stage, from its newest checkpoint if there is one."""
    reward.train(config, workdir)


if __name__ == "__main__":
    cli.run(main, script="train_reward")
