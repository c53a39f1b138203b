import json
import pathlib
import runpy
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from orl_jax.ops import losses, ranking
from orl_jax.rl import estimators
from orl_jax.run import config as rules
from orl_jax.run.errors import UserError
from orl_jax.run.rules import DIVIDES, RULES, STAGES


def good() -> ConfigDict:
    """A configuration with the example of every rule."""
    tree: dict[str, Any] = {}
    for rule in RULES:
        *sections, key = rule.key.split(".")
        holder = tree
        for name in sections:
            holder = holder.setdefault(name, {})
        holder[key] = rule.example
    return ConfigDict(tree).lock()


def changed(key: str, value: Any) -> ConfigDict:
    config = good().unlock()
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    return config


def message(config: ConfigDict) -> str:
    with pytest.raises(UserError) as caught:
        rules.validate(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_examples_of_the_rules_pass() -> None:
    rules.validate(good())


def test_sections_and_keys_may_be_absent() -> None:
    rules.validate(ConfigDict())
    rules.validate(ConfigDict({"rl": {"group_size": 2}}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.frames", 0),
        ("data.bad_video", "ignore"),
        ("model.adapter.name", "mlp"),
        ("model.lora.rank", 0),
        ("sft.learning_rate", 0.0),
        ("sft.learning_rate", float("inf")),
        ("rl.algorithm", "dpo"),
        ("rl.batch_size", 0),
        ("rl.group_size", 1),
        ("rl.max_response_tokens", 10**9),
        ("rl.temperature", 0.0),
        ("rl.temperature", float("nan")),
        ("rl.advantage.mix", 1.5),
        ("rl.advantage.mix", float("nan")),
        ("rl.clip_low", 1.2),
        ("rl.kl_coefficient", -0.1),
        ("rl.kl_coefficient", float("inf")),
        ("rl.group_size", "five"),
        ("checkpoint.keep", 0),
    ],
)
def test_a_broken_rule_is_refused_with_key_value_limit_and_remedy(key: str, value: Any) -> None:
    text = message(changed(key, value))
    assert f"config.{key} is {value!r}; it must be " in text
    assert f"For example --config.{key}=" in text


def test_the_remedy_keeps_the_rule() -> None:
    for rule in RULES:
        assert rule.holds(rule.example), rule.key


def test_a_misspelt_name_suggests_the_right_one() -> None:
    text = message(changed("rl.reference_refresh", "epochs"))
    assert text.endswith("one of never, epoch. For example --config.rl.reference_refresh=epoch")


def test_a_group_of_one_is_refused_in_these_words() -> None:
    assert message(changed("rl.group_size", 1)) == (
        "config.rl.group_size is 1; it must be at least 2: a single answer has no rank. "
        "For example --config.rl.group_size=5"
    )


@pytest.mark.parametrize(
    ("micro", "passes"), [(0, True), (1, True), (4, True), (5, False), (16, False)]
)
def test_a_micro_batch_divides_the_batch(micro: int, passes: bool) -> None:
    config = ConfigDict({"rl": {"batch_size": 12, "micro_batch": micro}})
    if passes:
        rules.validate(config)
    else:
        assert message(config) == (
            f"config.rl.micro_batch is {micro}; it must divide config.rl.batch_size = 12: "
            "choose one of 1, 2, 3, 4, 6, 12"
        )


def test_a_micro_batch_of_ppo_divides_its_minibatch() -> None:
    rl = {"algorithm": "ppo", "batch_size": 12, "micro_batch": 4, "ppo": {"minibatches": 3}}
    config = ConfigDict({"rl": rl})
    rules.validate(config)
    config.rl.micro_batch = 6
    assert message(config) == (
        "config.rl.micro_batch is 6; it must divide the 4 prompts of a minibatch, "
        "config.rl.batch_size / config.rl.ppo.minibatches: choose one of 1, 2, 4, or 0"
    )


def test_a_kl_without_a_gradient_is_refused_as_a_loss() -> None:
    rl = {"algorithm": "grpo", "kl_estimator": "k1", "kl_coefficient": 0.0}
    config = ConfigDict({"rl": rl})
    rules.validate(config)
    config.rl.kl_coefficient = 0.1
    assert "its expected gradient is 0" in message(config)
    config.rl.algorithm = "ppo"  # its KL is in the rewards
    rules.validate(config)


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_algorithms_with_scores_refuse_oracles_without_them(algorithm: str) -> None:
    config = ConfigDict({"rl": {"algorithm": algorithm}, "oracle": {"name": "distorted"}})
    rules.validate(config)
    config.oracle.name = "top"
    with pytest.raises(UserError, match=f"{algorithm}.*needs scores.*'top'.*grpo_rank"):
        rules.validate(config)
    config.rl.algorithm = "grpo_rank"
    rules.validate(config)


def test_a_model_whose_heads_do_not_divide_its_width_is_refused() -> None:
    text = message(ConfigDict({"model": {"language": {"width": 8, "heads": 3, "kv_heads": 1}}}))
    assert "config.model.language.heads is 3; it must divide config.model.language.width" in text


@pytest.mark.parametrize("size", ["", "tiny"])
def test_the_demo_passes(size: str) -> None:
    demo = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "configs/demo.py"))
    rules.validate(demo["get_config"](size))


def test_every_rule_is_about_a_key_of_the_demo_or_one_of_its_kind() -> None:
    """A rule with a misspelt key would do nothing. Not all stages have all keys of a stage."""
    demo = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "configs/demo.py"))
    keys = set(rules.keys(demo["get_config"]()))
    of_stages = {key.partition(".")[2] for key in keys if key.partition(".")[0] in STAGES}
    for key in [rule.key for rule in RULES] + [key for pair in DIVIDES for key in pair]:
        section, _, name = key.partition(".")
        assert key in keys or (section in STAGES and name in of_stages), key


def test_names_agree_with_those_of_the_operations() -> None:
    """The rules import no jax, so they repeat these names."""
    names = {rule.key: rule.names for rule in RULES}
    assert names["rl.advantage.form"] == estimators.RANK_FORMS
    assert names["rl.grpo.form"] == tuple(estimators.SCORE_FORMS)
    assert names["rl.advantage.discount"] == ranking.DISCOUNTS
    assert set(names["rl.kl_estimator"]) == {*losses.KL_KINDS, "exact"}
    assert names["rl.normalisation"] == losses.NORMALISATIONS


@given(prompts=st.integers(0, 50), group=st.integers(2, 9), more=st.integers(0, 8))
def test_whole_groups_pass_and_others_do_not(prompts: int, group: int, more: int) -> None:
    responses = prompts * group + more % group
    if more % group == 0:
        rules.check_whole_groups(responses, group)
    else:
        with pytest.raises(UserError, match=rf"{responses} responses .*group_size is {group}"):
            rules.check_whole_groups(responses, group)


def test_json_and_back() -> None:
    config = ConfigDict(
        {"a": 1, "b": {"c": (1, 2), "d": None, "e": "x", "f": 0.1, "g": True}}
    ).lock()
    again = rules.from_json(rules.to_json(config))
    assert again == config
    assert again.is_locked and again.b.is_locked
    assert isinstance(again.b.f, float) and isinstance(again.b.c, tuple)
    assert json.loads(rules.to_json(config))["b"]["c"] == [1, 2]


@pytest.mark.parametrize("text", ["", "{", "[1]", "3"])
def test_text_that_is_not_a_configuration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="the stored configuration is"):
        rules.from_json(text)


def test_write_leaves_one_whole_file(tmp_path: pathlib.Path) -> None:
    config = rules.up_to_date(good())
    rules.write(config, str(tmp_path / "new"))
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["config.json"]
    assert rules.from_json((tmp_path / "new/config.json").read_text()) == config


def test_keys_are_dotted() -> None:
    assert list(rules.keys(ConfigDict({"a": 1, "b": {"c": {"d": 2}}}))) == [
        "a",
        "b",
        "b.c",
        "b.c.d",
    ]


def test_lookup() -> None:
    config = ConfigDict({"b": {"c": None}})
    assert rules.lookup(config, "b.c") is None
    assert rules.lookup(config, "b.x") is rules.MISSING
    assert rules.lookup(config, "b.c.d") is rules.MISSING


def test_no_jax_is_needed() -> None:
    script = "import sys, orl_jax.run.config; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("model.language.layers", 0, "from 1 to 4096"),
        ("model.language.width", -128, "from 1 to 1048576"),
        ("model.vision.heads", 0, "from 1 to 4096"),
        ("model.vision.patch_size", 0, "from 1 to"),
        ("model.adapter.queries", 10**9, "from 1 to 1048576"),
        ("model.language.mlp_width", 2.5, "from 1 to"),
        ("model.language.rope_base", float("nan"), "greater than 0"),
        ("model.language.tied", "yes", "True or False"),
        ("model.layers.remat", 1, "True or False"),
        ("seed", 2**63, r"at least 0 and below 2\*\*32"),
        ("seed", True, "at least 0 and below"),
        ("audit.seed", -1, "at least 0 and below"),
        ("rl.steps", "9", "at least 0"),
        ("data.folder", 7, "a text"),
    ],
)
def test_sizes_seeds_and_types_have_limits(key, value, words):
    with pytest.raises(UserError, match=rf"config.{key} is .*; it must be {words}"):
        rules.validate(changed(key, value))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"model": 3}, "config.model.*is missing"),
        ({"data": None}, "config.data.*is missing"),
        ({"model": {"language": {"width": "wide"}}}, "config.model.language.width is 'wide'"),
        ({"model": {"vision": {"layers": -1}}}, "config.model.vision.layers is -1"),
        ({"model": {"language": {"heads": 3}}}, "it must divide config.model.language.width"),
        ({"rl": {"temperature": [1]}}, r"config.rl.temperature is \(1,\)"),
        ({"seed": None}, "config.seed is None"),
    ],
)
def test_an_edited_stored_configuration_is_refused(change, words):
    tree = demo().to_dict()
    merge(tree, change)
    with pytest.raises(UserError, match=f"{words}.*: the configuration in a/b was edited or is"):
        rules.check_stored(rules.from_json(json.dumps(tree)), "a/b")


def demo():
    return runpy.run_path(str(pathlib.Path(__file__).parents[2] / "configs/demo.py"))[
        "get_config"
    ]()


def merge(tree, change):
    for key, value in change.items():
        if isinstance(value, dict):
            merge(tree[key], value)
        else:
            tree[key] = value


def test_what_every_config_stores_is_not_refused():
    rules.check_stored(rules.from_json(rules.to_json(demo())), "a/b")
    rules.check_stored(
        rules.from_json((pathlib.Path(__file__).parent / "old_config.json").read_text()), "a/b"
    )
