"""A tiny run that the tests of the stages share: data, vision warm-up, SFT."""

import fcntl
import os
import pathlib
import runpy
import shutil

import pytest

import scripts
from orl_jax.rl import stage as rl

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"


def tiny_config(folder, **overrides):
    """`configs/demo.py:tiny` with its data in `folder`; overrides are dotted keys."""
    config = runpy.run_path(str(CONFIG))["get_config"]("tiny")
    with config.unlocked():
        config.data.folder = str(folder)
        config.update_from_flattened_dict(overrides)
    return config


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all workers of this session see."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def once(folder, build):
    """Has one worker call `build(folder)` while the others wait; returns the folder."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            build(folder)
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def run(shared):
    """(config, workdir) of a run that has been through SFT; nobody may change the workdir."""
    folder = once(shared / "tiny", _train)
    return _config(folder), str(folder / "run")


def _config(folder):
    config = tiny_config(folder / "data")
    with config.unlocked():
        config.sft.init_from = f"{folder}/run/checkpoints/vision"
    return config


def _train(folder):
    flags = (f"--config={CONFIG}:tiny", f"--config.data.folder={folder}/data")
    flags += (f"--workdir={folder}/run",)
    scripts.run("prepare_data", *flags)
    scripts.run("train_vision", *flags)
    scripts.run("train_sft", *flags, f"--config.sft.init_from={folder}/run/checkpoints/vision")


@pytest.fixture(scope="session")
def after_rl(run, shared):
    """The workdir of `run` after RL with the config's own settings; nobody may change it."""

    def train(folder):
        shutil.copytree(run[1], folder / "run")
        rl.train(run[0], str(folder / "run"))

    return str(once(shared / "tiny_rl", train) / "run")
