r"""Imports local Hugging Face folders into a checkpoint, WORKDIR/checkpoints/imported.

    python scripts/import_weights.py --config=configs/imported.py --workdir=runs/llama2 \
        --config.weights.language=DIR --config.weights.vision=DIR

Then train from it with --config=configs/imported.py:runs/llama2; see docs/weights.md.
"""

from ml_collections import ConfigDict

from orl_jax.run import cli
from orl_jax.weights.importing import import_weights


def main(config: ConfigDict, workdir: str) -> None:
    """Imports the folders of `config.weights`."""
    place = import_weights(config, workdir)
    print(f"the weights are in {place.path}")
    print(f"train from them with --config=configs/imported.py:{workdir}")


if __name__ == "__main__":
    cli.run(main)
