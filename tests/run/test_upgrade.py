"""Configurations of earlier versions; `old_config.json` has none of the keys that came later."""

import json
import pathlib
import runpy

import pytest

from orl_jax.run import config as rules
from orl_jax.run.upgrade import ADDED, SECTIONS, upgrade

OLD = pathlib.Path(__file__).with_name("old_config.json")
DEMO = pathlib.Path(__file__).parents[2] / "configs/demo.py"


@pytest.fixture
def old() -> dict:
    return json.loads(OLD.read_text())


def test_an_old_config_loads_with_every_current_key(old: dict) -> None:
    config = rules.from_json(OLD.read_text())
    rules.validate(config)
    now = runpy.run_path(str(DEMO))["get_config"]("tiny")
    sections = {key.partition(".")[0] for key in rules.keys(config)}
    wanted = {key for key in rules.keys(now) if key.partition(".")[0] in sections}
    wanted -= {key for key in wanted if key.startswith("model.layers")}  # a shared section
    assert wanted <= set(rules.keys(config))
    assert "framing" not in old["data"] and config.data.framing == "crop"
    assert config.rl.rates == () and config.oracle.scales == ()


def test_values_of_an_old_config_are_kept(old: dict) -> None:
    old["data"]["framing"] = "pad"
    old["oracle"]["tie_margin"] = 0.5
    new = upgrade(old)
    assert new["data"]["framing"] == "pad" and new["oracle"]["tie_margin"] == 0.5

    def kept(before: dict, after: dict) -> bool:
        return all(
            kept(value, after[key]) if isinstance(value, dict) else after[key] == value
            for key, value in before.items()
        )

    assert kept(old, new)


def test_defaults_keep_the_old_behaviour(old: dict) -> None:
    """Unlike today, a ranker's scores had to be equal for a tie."""
    assert upgrade(old)["oracle"]["tie_margin"] == 0.0
    assert upgrade(old)["data"]["features"] == ""


def test_upgrading_twice_changes_nothing(old: dict) -> None:
    once = upgrade(old)
    assert upgrade(once) == once


def test_the_given_config_is_not_changed(old: dict) -> None:
    before = json.dumps(old)
    upgrade(old)["oracle"]["served"]["frames"] = 3
    assert json.dumps(old) == before
    assert upgrade(old)["oracle"]["served"]["frames"] == 0


def test_a_part_of_a_config_gets_no_other_sections() -> None:
    assert upgrade({"a": 1}) == {"a": 1}
    assert upgrade({"rl": {"steps": 4}}) == {"rl": {"steps": 4} | ADDED["rl"]}


def test_the_tables_name_keys_of_the_demo() -> None:
    demo = json.loads(rules.to_json(runpy.run_path(str(DEMO))["get_config"]()))
    for section, keys in [*ADDED.items(), *SECTIONS.items()]:
        tree = demo
        for name in section.split("."):
            tree = tree[name]
        assert set(keys) <= set(tree), section
