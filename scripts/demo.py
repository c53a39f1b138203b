"""All of Oracle-RLAIF on the embedded data: data, warm-up, SFT, RL, a control, a report.

python scripts/demo.py --config=configs/demo.py --workdir=runs/demo
"""

from ml_collections import ConfigDict

from orl_jax.experiments import demo
from orl_jax.run import cli


def main(config: ConfigDict, workdir: str) -> None:
    """Runs the demo; see `orl_jax.experiments.demo`."""
    demo.run(config, workdir)


if __name__ == "__main__":
    cli.run(main, script="demo")
