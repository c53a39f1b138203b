"""The demo with the advantage as the paper prints it (arXiv 2510.02561), for the record.

It pushes the policy away from what the Oracle prefers: see docs/results/printed_form.md. The
monitor `wrong_direction` reports it at the first step.
"""

import runpy
from pathlib import Path

from ml_collections import ConfigDict


def get_config(size: str = "") -> ConfigDict:
    """`configs/demo.py:size` with the printed form and the discount of the paper's numbers."""
    config = runpy.run_path(str(Path(__file__).with_name("demo.py")))["get_config"](size)
    with config.unlocked():
        config.rl.advantage.update(form="printed", discount="printed")
    return config
