"""The next command that a stage ends with works where it is given."""

import logging
import sys

import pytest

from orl_jax.training.ending import log_end


@pytest.mark.parametrize("stage, name", [("oracle", "ranker"), ("reward", "reward")])
def test_rl_with_a_trained_oracle_gets_a_workdir_of_its_own_after_rl(
    tmp_path, caplog, monkeypatch, stage, name
):
    monkeypatch.setattr(sys, "argv", ["train_oracle.py", "--config=c.py"])
    workdir = str(tmp_path / "run")

    def said():
        caplog.clear()
        with caplog.at_level(logging.INFO):
            log_end(workdir, stage, stage, start=0, step=4, seconds=1.0)
        return caplog.text.partition("next: python scripts/train_rl.py ")[2].split()

    oracle = [
        f"--config.oracle.name={name}",
        f"--config.oracle.checkpoint={workdir}/checkpoints/{stage}",
    ]
    assert said() == ["--config=c.py", f"--workdir={workdir}", *oracle]
    (tmp_path / "run" / "checkpoints" / "rl").mkdir(parents=True)  # with another Oracle
    base = f"--config.rl.init_from={workdir}/checkpoints/sft"
    assert said() == ["--config=c.py", f"--workdir={workdir}-{stage}", base, *oracle]
