"""A matrix of algorithms, forms, Oracles and group sizes times seeds, from one checkpoint.

    python scripts/compare.py --config=configs/compare.py:forms --workdir=runs/forms \
        --config.compare.start=runs/demo/checkpoints/sft

Every arm ranks the same number of answers. Runs that are done are not run again. Leaves
`results.json`, `table.md` and `comparison.png` in the workdir.
"""

from ml_collections import ConfigDict

from orl_jax.experiments.comparison import compare
from orl_jax.run import cli


def main(config: ConfigDict, workdir: str) -> None:
    """Runs what is missing, then sums up."""
    compare.run(config, workdir)


if __name__ == "__main__":
    cli.run(main)
