"""Oracle-RLAIF: RL with GRPO_rank on answers that an Oracle ranks, or with GRPO or PPO on scores.

python scripts/train_rl.py --config=configs/demo.py --workdir=runs/demo
"""

from ml_collections import ConfigDict

from orl_jax.rl import stage as rl
from orl_jax.run import cli


def main(config: ConfigDict, workdir: str) -> None:
    """Runs the stage, from its newest checkpoint if there is one."""
    rl.train(config, workdir)


if __name__ == "__main__":
    cli.run(main, script="train_rl")
