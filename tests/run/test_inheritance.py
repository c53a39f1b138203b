"""Shared sections: who has their keys, whose value wins, and what may be overridden."""

import json
import pathlib
import re
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
from ml_collections import ConfigDict

from orl_jax.run import config as rules
from orl_jax.run.errors import UserError
from orl_jax.run.inheritance import SHARED, inherit

DEMO = runpy.run_path(str(pathlib.Path(__file__).parents[2] / "configs/demo.py"))
STAGES = ("vision", "sft", "reward", "ranker", "rl")
LIMIT = 275  # keys to read in configs/demo.py and configs/oracles.py; a new one earns its place
CHANGED = {"rl.advantage.mix": 0.0}


def family() -> ConfigDict:
    config = ConfigDict(
        {
            "shared": {"rate": 1.0, "rates": (), "inner": {"size": 3}},
            "child": {"own": "x"},
            "rebel": {"rate": 5.0},
            "grandchild": {},
        }
    )
    inherit(config, {"child": "shared", "rebel": "shared", "grandchild": "child"})
    return config.lock()


def leaves(config: ConfigDict) -> Iterator[str]:
    return (
        key for key in rules.keys(config) if not isinstance(rules.lookup(config, key), ConfigDict)
    )


def test_a_section_inherits_missing_keys_and_keeps_its_own() -> None:
    config = family()
    assert config.child.to_dict() == {"own": "x", "rate": 1.0, "rates": (), "inner": {"size": 3}}
    assert config.rebel.rate == 5.0
    assert config.grandchild.to_dict() == config.child.to_dict()


def test_a_shared_value_reaches_all_sections_without_their_own() -> None:
    config = family()
    config.shared.rate = 2.0
    config.shared.inner.size = 4
    assert (config.child.rate, config.grandchild.rate, config.rebel.rate) == (2.0, 2.0, 5.0)
    assert config.grandchild.inner.size == 4


@pytest.mark.parametrize("first", ["shared", "child"])
def test_an_own_value_wins_whichever_is_set_first(first: str) -> None:
    config = family()
    values = {"shared": 2.0, "child": 3.0}
    for name in (first, *(set(values) - {first})):
        config[name].rate = values[name]
    assert (config.shared.rate, config.child.rate, config.grandchild.rate) == (2.0, 3.0, 3.0)


def test_types_of_inherited_keys_are_checked() -> None:
    config = family()
    with pytest.raises(TypeError):
        config.child.rates = "no tuple"
    with pytest.raises(AttributeError, match="rat"):
        config.child.rat = 1


def test_the_resolved_config_is_whole_and_plain() -> None:
    config = family()
    config.shared.rate = 2.0
    again = rules.from_json(rules.to_json(config))
    assert again.child.rate == 2.0 and again.grandchild.inner.size == 3
    copy = config.copy_and_resolve_references().unlock()
    copy.shared.rate = 7.0
    assert copy.child.rate == 2.0


def test_the_demo_is_short_to_read_and_complete_to_use() -> None:
    written = set(leaves(DEMO["written"]()))
    assert len(written) <= LIMIT
    config = DEMO["get_config"]()
    for stage in STAGES:
        assert set(config.optimizer) <= set(config[stage]), stage
    assert set(rules.keys(config.oracle)) == set(rules.keys(config.preferences.oracle))
    assert set(config.reward) - set(config.ranker) == {"pairs", "centring"}
    assert set(config.judge) == {*config.server, "address", "model", "asks", "cache"}


def test_all_keys_from_before_inheritance_exist() -> None:
    """`old_keys.json` has the 321 leaf keys of that time and their defaults: all can be set.

    `CHANGED` are the defaults that are others today.
    """
    old: dict[str, Any] = json.loads(pathlib.Path(__file__).with_name("old_keys.json").read_text())
    values = json.loads(rules.to_json(DEMO["get_config"]()))
    for key, value in old.items():
        found: Any = values
        for name in key.split("."):
            found = found[name]
        value = CHANGED.get(key, value)
        assert (found, type(found)) == (value, type(value)), key
    assert len(old) == 321


def test_shared_sections_are_read_only_by_their_heirs() -> None:
    parents = set(DEMO["INHERITS"].values())
    assert parents == {*SHARED, "oracle"}


def test_an_override_of_the_demos_optimizer_changes_the_stages_without_their_own() -> None:
    config = DEMO["get_config"]().unlock()
    config.rl.max_grad_norm = 0.3
    config.optimizer.update(max_grad_norm=0.5, weight_decay=0.1)
    assert [config[stage].max_grad_norm for stage in STAGES] == [0.5, 0.5, 0.5, 0.5, 0.3]
    assert [config[stage].weight_decay for stage in STAGES] == [0.01, 0.01, 0.1, 0.1, 0.1]


def test_the_oracle_of_preferences_follows_the_oracle() -> None:
    config = DEMO["get_config"]()
    config.oracle.update(inner="graded", name="top")
    config.server.timeout = 5.0
    config.judge.timeout = 9.0
    assert (config.preferences.oracle.name, config.preferences.oracle.inner) == ("noisy", "graded")
    assert config.oracle.served.timeout == config.preferences.oracle.served.timeout == 5.0
    config.oracle.served.timeout = 7.0
    assert (config.preferences.oracle.served.timeout, config.judge.timeout) == (7.0, 9.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.weight_decay", -1.0),
        ("score_model.held_out", 1.0),
        ("reward.held_out", 1.0),
        ("rl.weight_decay", -1.0),
        ("model.layers.dtype", "float64"),
        ("server.timeout", 0.0),
        ("judge.timeout", 0.0),
        ("oracle.policy", "ask"),
        ("preferences.oracle.served.mode", "random"),
    ],
)
def test_a_broken_rule_names_the_key_that_was_set(key: str, value: Any) -> None:
    config = DEMO["get_config"]()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=rf"^config\.{re.escape(key)} is {value!r}; it must be "):
        rules.validate(config)
