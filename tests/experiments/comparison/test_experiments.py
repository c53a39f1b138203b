"""The paper's experiments: every arm is a config that holds, on the world and at full size."""

import pathlib
import runpy

import pytest

from orl_jax.experiments.comparison.arms import config_of, evaluation_config, make_jobs
from orl_jax.run import config as rules
from orl_jax.run.errors import UserError

CONFIG = pathlib.Path(__file__).parents[3] / "configs" / "experiments.py"
load = runpy.run_path(str(CONFIG))["get_config"]


@pytest.mark.parametrize("size", ["", ",7b", ",runs/x", ",7b,runs/x"])
@pytest.mark.parametrize("group", ["video_mme", "oracles", "sizes"])
def test_every_arm_is_a_valid_config(group, size):
    config = load(group + size)
    rules.validate(config)
    workdir = "runs/x" if "runs/x" in size else {"": "runs/taught"}.get(size, "runs/7b")
    assert config.compare.start.startswith(f"{workdir}/checkpoints/")
    full = "7b" in size
    assert config.model.language.width == (4096 if full else 128)
    for job in make_jobs(config, "runs/out"):
        settings = config_of(config, job)
        assert settings.oracle.checkpoint in (
            "", f"{workdir}/checkpoints/oracle", f"{workdir}/checkpoints/reward",
        )  # fmt: skip
        assert settings.oracle.checkpoint.endswith(
            {"ranker": "oracle", "reward": "reward"}.get(settings.oracle.name, "")
        )
        if full:  # rows divide over the four cards
            assert settings.rl.batch_size % settings.mesh.data == 0
            assert settings.rl.micro_batch == settings.mesh.data == 4


def test_benchmarks_are_read_in_evaluation_alone():
    config = load("video_mme")
    changed = evaluation_config(config)
    assert (config.data.folder, changed.data.folder) == ("data/shapes", "data/shapes-choice")
    assert (config.evaluation.choice, changed.evaluation.choice) == ("letter", "text_likelihood")
    full = evaluation_config(load("video_mme,7b"))
    assert full.evaluation.stratify == "task_type,duration"
    assert evaluation_config(load("sizes,7b")).data.folder == "data/msvd-qa"


def test_an_unknown_key_of_the_evaluation_is_named():
    config = load("video_mme").unlock()
    config.compare.evaluate_with = (("evaluation.choise", "letter"),)
    with pytest.raises(UserError, match=r"compare.evaluate_with sets config.evaluation.choise"):
        make_jobs(config, "runs/out")


@pytest.mark.parametrize("choices", ["", "forms", "video_mme,7b,a,b", "video_mme,a,b"])
def test_other_choices_are_refused(choices):
    with pytest.raises(UserError, match="take one of video_mme, oracles, sizes"):
        load(choices)
