"""Preference pairs from the SFT policy's answers, labelled by a noisy Oracle.

    python scripts/make_preferences.py --config=configs/demo.py --workdir=runs/demo

Writes WORKDIR/preferences.jsonl, which scripts/train_reward.py reads, and WORKDIR/groups.jsonl,
which scripts/train_oracle.py reads.
"""

from ml_collections import ConfigDict

from orl_jax.rl.preferences import make_preferences
from orl_jax.run import cli


def main(config: ConfigDict, workdir: str) -> None:
    """Samples, asks and writes."""
    make_preferences(config, workdir)


if __name__ == "__main__":
    cli.run(main, script="make_preferences")
