"""Overrides that have no effect: a table of modes, each refused with the key, mode and remedy."""

import dataclasses
import pathlib
import re
import runpy
import sys

import pytest

import scripts
from orl_jax import oracles
from orl_jax.data.benchmarks import registry
from orl_jax.models.qformer import QFormerAdapter
from orl_jax.models.vlm_settings import _POOL
from orl_jax.oracles.settings import OracleSettings
from orl_jax.rl.score_oracle import TRAINED
from orl_jax.run import command_line, effects, overrides
from orl_jax.run import config as rules
from orl_jax.run.errors import UserError
from orl_jax.run.scripts import SCRIPTS

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT}/configs/demo.py:tiny"
PPO, GRPO, DIRECT = "rl.algorithm=ppo", "rl.algorithm=grpo", "rl.algorithm=direct"
LINEAR, PRINTED = "rl.advantage.form=linear", "rl.advantage.form=printed"
# script, what sets the mode, the override without effect, words of the line
REFUSED = [
    # Stages: sections of others, and what only evaluations draw.
    ("prepare_data", "", "sft.steps=9", "here: prepare_data.py reads only config.data.folder"),
    ("prepare_data", "", "data.frames=4", "it is for train_vision"),
    ("prepare_data", "", "source.folder=x", "source.name is 'shapes'"),
    ("prepare_data", "source.name=describe", "data.tokenizer=x", "source.name is 'describe'"),
    ("prepare_data", "source.name=own", "data.scenes.train=9", "set --config.source.name=shapes"),
    ("train_vision", "", "sft.steps=9", "reads other keys (docs/settings.md)"),
    ("train_vision", "", "data.scenes.train=9", "it is for prepare_data"),
    ("train_sft", "", "rl.steps=9", "it is for train_rl, demo"),
    ("train_sft", "", "rl.group_size=9", "it is for train_rl"),
    ("train_sft", "", "data.features=x", "it is for train_rl"),
    ("train_sft", "", "evaluation.max_items=9", "validation takes the first evaluation.validation"),
    ("train_sft", "", "optimizer.weight_decay=0.1", "set --config.sft.weight_decay, which has its"),
    ("train_sft", "", "score_model.held_out=0.2", "reads other keys"),
    ("train_sft", "evaluation.samples=0", "rl.temperature=0.5", "evaluation.samples is 0"),
    ("train_sft", "sft.validate_every=0", "evaluation.samples=1", "sft.validate_every is 0"),
    ("train_reward", "", "ranker.learn_from=pairs", "it is for train_oracle"),
    ("train_reward", "", "oracle.tie_margin=2.0", "it is for"),
    ("train_oracle", "", "reward.centring=0.1", "it is for train_reward"),
    ("train_oracle", "", "oracle.name=ranker", "it is for"),
    ("make_preferences", "", "oracle.name=reference", "reads other keys"),
    ("make_preferences", "", "seed=3", "preferences.seed draws"),
    ("make_preferences", "", "preferences.oracle.lag=1", "only RL reads it"),
    ("make_preferences", "", "preferences.oracle.levels=3", "preferences.oracle.name is 'noisy'"),
    ("make_preferences", "", "oracle.tie_margin=2.0", "set --config.preferences.oracle.name=rank"),
    ("demo", "", "sft.init_from=x", "begins from its own vision checkpoint"),
    ("demo", "", "ranker.steps=9", "it is for train_oracle"),
    # Algorithms.
    ("train_rl", "", "sft.steps=9", "it is for train_sft, demo"),
    ("train_rl", "", "rl.ppo.gamma=0.9", "'grpo_rank'; leave it out, or set --config.rl.algori"),
    ("train_rl", "", "rl.grpo.form=centred", "set --config.rl.algorithm=grpo"),
    ("train_rl", GRPO, "rl.ppo.lam=0.9", "rl.algorithm is 'grpo'"),
    ("train_rl", GRPO, "rl.advantage.form=printed", "set --config.rl.algorithm=grpo_rank"),
    ("train_rl", GRPO, "rl.advantage.mix=0.5", "rl.algorithm is 'grpo'"),
    ("train_rl", PPO, "rl.advantage.discount=product", "rl.algorithm is 'ppo'"),
    ("train_rl", PPO, "rl.grpo.form=centred", "rl.algorithm is 'ppo'"),
    ("train_rl", PPO, "rl.kl_coefficient=0.1", "rl.algorithm is 'ppo'"),
    ("train_rl", PPO, "rl.kl_estimator=k2", "rl.algorithm is 'ppo'"),
    ("train_rl", PPO, "rl.normalisation=constant", "rl.algorithm is 'ppo'"),
    ("train_rl", "", "rl.direct.loss=lipo", "set --config.rl.algorithm=direct"),
    ("train_rl", DIRECT, "rl.clip_low=0.1", "rl.algorithm is 'direct'"),
    ("train_rl", DIRECT, "rl.truncated=leave_out", "rl.algorithm is 'direct'"),
    ("train_rl", DIRECT, "rl.importance_cap=2.0", "rl.algorithm is 'direct'"),
    ("train_rl", PPO, "rl.minibatches=2", "rl.algorithm is 'ppo'"),
    ("train_rl", PPO, "rl.clip_dual=3.0", "rl.algorithm is 'ppo'"),
    ("train_rl", LINEAR, "rl.advantage.predicted=mean", "rl.advantage.form is 'linear'"),
    ("train_rl", PRINTED, "rl.advantage.mix=0.5", "set --config.rl.advantage.form=signed"),
    ("train_rl", LINEAR, "rl.advantage.mix=0.5", "rl.advantage.form is 'linear'"),
    ("train_rl", LINEAR, "rl.advantage.discount=product", "rl.advantage.form is 'linear'"),
    ("train_rl", "rl.epochs=2", "rl.steps=9", "set --config.rl.epochs=0"),
    ("train_rl", "rl.validate_every=0", "monitors.type_fall=0.2", "rl.validate_every is 0"),
    ("train_rl", "rl.validate_every=0", "evaluation.samples=1", "rl.validate_every is 0"),
    # Oracles.
    ("train_rl", "", "oracle.inner=graded", "oracle.name is 'reference'"),
    ("train_rl", "", "oracle.checkpoint=x", "only ranker or reward reads it"),
    ("train_rl", "", "oracle.served.model=x", "set --config.oracle.name=served"),
    ("train_rl", "", "server.timeout=5.0", "set --config.oracle.name=served"),
    ("train_rl", "", "oracle.embedding.model=x", "set --config.oracle.name=embedding"),
    ("train_rl", "", "oracle.recorded=x", "set --config.oracle.name=recorded"),
    ("train_rl", "", "oracle.seed=1", "oracle.name is 'reference'"),
    ("train_rl", "oracle.name=noisy", "oracle.levels=3", "set --config.oracle.name=coarse"),
    ("train_rl", "oracle.name=top", "oracle.swap_probability=0.1", "oracle.name is 'top'"),
    ("train_rl", "oracle.name=coarse", "oracle.seed=1", "oracle.name is 'coarse'"),
    ("train_rl", "oracle.name=reward", "oracle.tie_margin=0.1", "set --config.oracle.name=ranker"),
    ("train_rl", "oracle.name=ensemble", "oracle.top_k=2", "oracle.name is 'ensemble'"),
    ("train_rl", "oracle.name=a:b", "oracle.quorum=2", "oracle.name is 'a:b'"),
    ("train_rl", "oracle.name=served", "oracle.served.frame_size=99", "served.frames is 0"),
    ("train_rl", "oracle.name=served", "oracle.served.cache_mb=9.0", "served.cache is ''"),
    ("train_rl", "", "oracle.pause_seconds=9.0", "oracle.halt_above is 1.0"),
    ("train_rl", "oracle.lag=1", "oracle.overlap=True", "oracle.lag is 1"),
    # Audits, judges and evaluations.
    ("audit_oracle", "", "oracle.lag=1", "only RL reads it"),
    ("audit_oracle", "", "oracle.policy=raise", "an audit counts failures"),
    ("audit_oracle", "oracle.name=served", "oracle.served.cache=x", "asks again"),
    ("audit_oracle", "", "oracle.swap_probability=0.1", "oracle.name is 'reference'"),
    ("audit_oracle", "audit.truth=none", "audit.min_tau=0.1", "audit.truth is 'none'"),
    ("audit_oracle", "audit.pairs=0", "audit.min_transitive=0.1", "audit.pairs is 0"),
    ("audit_oracle", "", "audit.price.input=1.0", "set --config.oracle.name=served"),
    ("score", "", "judge.cache_mb=9.0", "judge.cache is ''"),
    ("score", "", "oracle.served.model=x", "score.py reads only config.judge"),
    ("evaluate", "", "evaluation.validation_items=9", "it counts in training"),
    ("evaluate", "", "evaluation.stratify=task_type", "evaluation.max_items is 0"),
    ("evaluate", "evaluation.max_items=9", "evaluation.seed=3", "evaluation.stratify is ''"),
    ("evaluate", "evaluation.choice=letter_likelihood", "evaluation.samples=3", "choice=letter"),
    ("evaluate", "evaluation.choice=text_likelihood", "evaluation.samples=3", "choice=letter"),
    # The model, in any stage.
    ("train_sft", "model.adapter.name=pool", "model.adapter.queries=9", "adapter.name is 'pool'"),
    ("train_rl", "", "model.layers.quantisation_block=8", "quantisation is 'none'"),
    ("train_rl", "", "model.language.rope_factor=2.0", "rope_scaling is 'none'"),
    ("compare", "", "rl.steps=9", "compare.queries and compare.answers"),
]  # fmt: skip
READ = [
    ("train_sft", "rl.max_response_tokens=8", "optimizer.max_grad_norm=0.5", "model.lora.rank=4"),
    ("train_sft", "sft.lora=True", "model.layers.dtype=bfloat16", "checkpoint.keep=3"),
    ("train_rl", PPO, "rl.ppo.gamma=0.9", "rl.micro_batch=0", "rl.steps=9", "data.features=x"),
    ("train_rl", GRPO, "rl.grpo.form=centred", "rl.kl_estimator=k2", "rl.clip_dual=3.0"),
    ("train_rl", DIRECT, "rl.direct.loss=lipo", "rl.direct.beta=0.5", "rl.kl_coefficient=0.0"),
    ("train_rl", PPO, "rl.truncated=leave_out", "rl.top_p=0.9"),
    ("train_rl", PRINTED, "rl.advantage.discount=product"),
    ("train_rl", "oracle.name=noisy", "oracle.inner=coarse", "oracle.swap_probability=0.1"),
    ("train_rl", "oracle.name=noisy", "oracle.inner=ensemble", "oracle.members=('graded',)",
     "oracle.scales=(('a', 'b'),)", "oracle.quorum=1"),
    ("train_rl", "oracle.name=served", "server.timeout=5.0", "oracle.served.model=x"),
    ("train_oracle", "oracle.tie_margin=0.5", "score_model.held_out=0.2", "ranker.steps=9"),
    ("make_preferences", "preferences.oracle.name=ranker", "oracle.tie_margin=0.5"),
    ("audit_oracle", "oracle.name=distorted", "oracle.distortion=2.0", "audit.shuffles=2"),
    ("evaluate", "evaluation.max_items=9", "evaluation.stratify=task_type", "evaluation.seed=3"),
    ("compare", "oracle.checkpoint=x", "rl.ppo.gamma=0.9", "compare.seeds=(1,)"),
    ("demo", "data.scenes.train=9", "vision.steps=9", "control.learning_rate=0.1", "seed=1"),
]  # fmt: skip


def check(script: str, *given: str) -> None:
    """What `cli.run` does with overrides, without the script."""
    config = f"--config={ROOT}/configs/compare.py:forms" if script == "compare" else CONFIG
    with scripts._put_back():
        flags = [f"--config.{each}" for each in given if each]
        sys.argv = [f"{script}.py", config, "--workdir=w", *flags]
        command_line.define(None)
        overrides.refuse_unused(script, command_line.parse(None))


@pytest.mark.parametrize(("script", "mode", "override", "words"), REFUSED)
def test_what_has_no_effect_is_refused(script, mode, override, words):
    with pytest.raises(UserError) as caught:
        check(script, mode, override)
    line = str(caught.value)
    assert line.startswith(f"--config.{override.split('=')[0]} has no effect ") and words in line
    assert "leave it out" in line or "set --config." in line


@pytest.mark.parametrize("row", READ, ids=" ".join)
def test_what_has_an_effect_is_not_refused(row):
    check(*row)


def test_the_next_command_has_the_flags_that_its_script_reads():
    with scripts._put_back():
        sys.argv = [
            "train_sft.py", CONFIG, "--config.seed=1", "--config.sft.steps=9", "--workdir=w",
            "--config.optimizer.max_grad_norm=0.5",
        ]  # fmt: skip
        found = overrides.flags_for("train_rl")
    assert found == [CONFIG, "--config.seed=1", "--config.optimizer.max_grad_norm=0.5"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_names_itself(name):
    assert f'script="{name}"' in (ROOT / "scripts" / f"{name}.py").read_text()


def test_names_agree_with_their_owners():
    assert set(effects.WRAPPERS) == set(oracles.WRAPPERS)
    assert effects.WORLDS == registry.WORLDS
    known = {*oracles.ORACLES, *oracles.WRAPPERS, *TRAINED, "ensemble"}
    assert {name for names in effects.ORACLE_KEYS.values() for name in names} <= known
    always = {"name", "policy", "halt_above", "pause_seconds", "overlap", "lag"}
    assert set(effects.ORACLE_KEYS) | always == {f.name for f in dataclasses.fields(OracleSettings)}
    adapter = set(runpy.run_path(f"{ROOT}/configs/demo.py")["get_config"]().model.adapter)
    assert set(effects.POOLED) == adapter - {*_POOL, "name"}
    assert set(effects.POOLED) <= {field.name for field in dataclasses.fields(QFormerAdapter)}


def test_every_key_is_in_the_tables_and_all_that_they_name_exist():
    demo = runpy.run_path(f"{ROOT}/configs/demo.py")["get_config"]()
    compare = runpy.run_path(f"{ROOT}/configs/compare.py")["get_config"]("forms")
    describe = runpy.run_path(f"{ROOT}/configs/describe.py")["get_config"]()
    known = {*rules.keys(demo), *rules.keys(compare), *rules.keys(describe)}
    named = {key for script in SCRIPTS.values() for key in (*script.reads, *script.but)}
    named |= {key for condition in effects.CONDITIONS for key in condition.keys}
    assert named <= known
    shared = ("optimizer.", "server.", "score_model.")
    leaves = [
        key for key in known
        if not any(hasattr(rules.lookup(config, key), "keys") for config in (compare, describe))
    ]  # fmt: skip
    inherited = {key for script in SCRIPTS.values() for key in script.but}  # without a use there
    for key in leaves:
        if not key.startswith(shared) and key not in inherited:
            assert any(effects.reads(script, key) for script in SCRIPTS), key


def test_the_page_shows_the_tables():
    page = (ROOT / "docs" / "settings.md").read_text()
    for script in SCRIPTS:
        assert f"`{script}.py`" in page, script
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for condition in effects.CONDITIONS:
        for key in condition.keys:
            short = re.sub(r"^(preferences\.)?oracle\.|^model\.\w+\.", "", key)
            assert any(f"`{short}" in row or f"`{key}" in row for row in rows), key
