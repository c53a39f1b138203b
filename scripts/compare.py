r"""A matrix of algorithms, forms, Oracles and group sizes by seeds, from one checkpoint.

    python scripts/compare.py --config=configs/compare.py:forms --workdir=runs/forms \
        --config.compare.start=runs/demo/checkpoints/sft

Every arm ranks the same number of answers. The same command resumes a comparison: finished runs are
not repeated. Writes `results.json`, `table.md` and `comparison.png` to the workdir.
"""

from ml_collections import ConfigDict

from orl_jax.experiments.comparison import compare
from orl_jax.run import cli


def main(config: ConfigDict, workdir: str) -> None:
    """Runs what is missing, then summarises."""
    compare.run(config, workdir)


if __name__ == "__main__":
    cli.run(main, script="compare")
