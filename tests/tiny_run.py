"""A tiny run that the tests of the stages share: data, vision warm-up, SFT."""

import pathlib
import runpy

import pytest

from orl_jax.data.prepare import prepare
from orl_jax.training import sft, vision

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"


def tiny_config(folder, **overrides):
    """`configs/demo.py:tiny` with its data in `folder`; overrides are dotted keys."""
    config = runpy.run_path(str(CONFIG))["get_config"]("tiny")
    with config.unlocked():
        config.data.folder = str(folder)
        config.update_from_flattened_dict(overrides)
    return config


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """(config, workdir) of a run that has been through SFT."""
    folder = tmp_path_factory.mktemp("tiny")
    workdir = str(folder / "run")
    config = tiny_config(folder / "data")
    prepare(config)
    vision.train(config, workdir)
    with config.unlocked():
        config.sft.init_from = f"{workdir}/checkpoints/vision"
    sft.train(config, workdir)
    return config, workdir
