"""Two kills at random moments of a small RL run; `kills.py` does it a hundred times."""

import pathlib
import subprocess
import sys

import pytest

from orl_jax.run.config import to_json

pytestmark = pytest.mark.heavy
KILLS = pathlib.Path(__file__).with_name("kills.py")


def test_a_killed_run_ends_bit_for_bit_as_the_one_that_nobody_killed(run, after_rl, tmp_path):
    config = run[0].copy_and_resolve_references().unlock()
    config.rl.init_from = f"{run[1]}/checkpoints/sft"
    (tmp_path / "config.json").write_text(to_json(config))
    command = [sys.executable, KILLS, "--count=2", f"--folder={tmp_path}", f"--whole={after_rl}"]
    found = subprocess.run(
        [*command, f"--config={tmp_path}/config.json"], capture_output=True, text=True, timeout=500
    )
    assert found.returncode == 0, found.stdout + found.stderr[-2000:]
    assert '"differ": 0' in found.stdout
