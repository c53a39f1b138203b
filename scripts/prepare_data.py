"""Builds the data set of a config, and its tokenizer.

python scripts/prepare_data.py --config=configs/demo.py
"""

from ml_collections import ConfigDict

from orl_jax import cli
from orl_jax.data.prepare import prepare


def main(config: ConfigDict, workdir: str) -> None:
    """Builds in `config.data.folder`; finds what is already there."""
    prepare(config)


if __name__ == "__main__":
    cli.run(main, default_workdir=".")
