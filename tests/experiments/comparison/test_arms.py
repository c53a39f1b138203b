"""Jobs and configs of a comparison: what each run changes, and at what cost in queries."""

import pathlib
import runpy

import pytest

from orl_jax.experiments.comparison.arms import config_of, make_jobs
from orl_jax.oracles import FactsOracle, make_oracle
from orl_jax.run import config as rules
from orl_jax.run.errors import UserError

CONFIG = pathlib.Path(__file__).parents[3] / "configs" / "compare.py"


def load(group):
    return runpy.run_path(str(CONFIG))["get_config"](group)


@pytest.mark.parametrize(
    "group", ["forms", "rivals", "rates", "oracles", "sizes", "tiny", "describe,forms"]
)
def test_every_arm_is_a_valid_config_at_equal_queries(group):
    config = load(group)
    rules.validate(config)
    for job in make_jobs(config, "runs/x"):
        settings = config_of(config, job, seconds=9.0)
        assert settings.seed == job.seed
        if job.stage == "rl":
            per_step = settings.rl.batch_size * settings.rl.group_size
            assert config.compare.answers * 0.97 <= per_step <= config.compare.answers
            assert settings.rl.steps == config.compare.queries // config.compare.answers
            assert settings.rl.init_from == config.compare.start
            if settings.oracle.name != "reward":
                make_oracle(settings.oracle.to_dict())
        else:
            assert settings.sft.seconds == 9.0 and settings.sft.init_from == config.compare.start


def test_seeds_go_round_robin_and_controls_come_last():
    jobs = make_jobs(load("tiny"), "runs/x")
    assert [(job.arm, job.seed) for job in jobs] == [
        ("signed 0", 0), ("signed 0", 1),
        ("more SFT, same data", 0), ("more SFT, same data", 1),
    ]  # fmt: skip
    assert len({job.folder for job in jobs}) == 4
    assert jobs[2].folder == "runs/x/runs/more_SFT__same_data/seed0"


def test_the_arms_do_not_change_the_shared_config():
    config = load("forms")
    before = config.to_json_best_effort()
    for job in make_jobs(config, "runs/x"):
        config_of(config, job)
    assert config.to_json_best_effort() == before


def test_mistakes_are_named():
    config = load("tiny").unlock()
    config.compare.arms = (("one", "rl", (("rl.nonsense", 1),)),)
    with pytest.raises(UserError, match="arm 'one' sets config.rl.nonsense"):
        make_jobs(config, "runs/x")
    config.compare.arms = (("one", "rl", ()), ("one", "rl", ()))
    with pytest.raises(UserError, match="different names"):
        make_jobs(config, "runs/x")
    config.compare.update(baseline="one", control_of="one")
    config.compare.arms = (("one", "rl", (("rl.group_size", 1),)),)
    with pytest.raises(UserError, match="rl.group_size is 1"):
        make_jobs(config, "runs/x")
    config.compare.arms = (("one", "rl", (("optimizer.weight_decay", 0.1),)),)
    with pytest.raises(UserError, match="a shared key; set weight_decay in each section"):
        make_jobs(config, "runs/x")
    config.compare.arms = (("one", "rl", ()), ("two", "sft", ()))
    assert len(make_jobs(config, "runs/x")) == 4
    for key in ("baseline", "split", "control_of"):
        wrong = config.copy_and_resolve_references().unlock()
        wrong.compare[key] = "nothing"
        with pytest.raises(UserError, match=f"compare.{key} is 'nothing'; choose one of"):
            make_jobs(wrong, "runs/x")
    with pytest.raises(UserError, match="is not one of forms"):
        load("nothing")


def test_on_descriptions_the_rule_is_the_oracle_that_counts_facts():
    config = load("describe,forms")
    assert config.source.name == "describe" and config.compare.start.startswith("runs/describe/")
    names = {
        name: make_oracle({"name": settings.oracle.name, "inner": settings.oracle.inner})
        for name in ("GRPO, calibrated", "GRPO, miscalibrated")
        for job in make_jobs(config, "runs/x") if job.arm == name
        for settings in [config_of(config, job)]
    }  # fmt: skip
    assert isinstance(names["GRPO, calibrated"], FactsOracle)
    assert isinstance(names["GRPO, miscalibrated"].inner, FactsOracle)


def test_the_printed_config_changes_the_form_alone():
    printed = runpy.run_path(str(CONFIG.with_name("paper_printed.py")))["get_config"]()
    demo = runpy.run_path(str(CONFIG.with_name("demo.py")))["get_config"]()
    assert printed.is_locked
    with demo.unlocked():
        demo.rl.advantage.update(form="printed", discount="printed")
    assert printed == demo
