import copy
import json
import pathlib
import runpy

import pytest
from example_run import CONFIG

from orl_jax.report.record import read_record
from orl_jax.report.summary import summary


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ("signed", "mix 0.25", "discount log2")),
        ({"advantage": {"form": "printed", "mix": 0.25, "discount": "printed"}},
         ("printed", "discount printed")),
        ({"advantage": {"form": "linear", "mix": 0.25, "discount": "log2"}}, ("linear",)),
        ({"algorithm": "grpo"}, ("standardised",)),
        ({"algorithm": "grpo", "grpo": {"form": "centred"}}, ("centred",)),
        ({"algorithm": "ppo"}, ("gamma 1", "lambda 0.95")),
    ],
)  # fmt: skip
def test_only_what_the_algorithm_reads_is_told(tmp_path, changes, said) -> None:
    config = copy.deepcopy(CONFIG)
    config["rl"] |= changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = summary(read_record(tmp_path))
    assert found.algorithm == changes.get("algorithm", "grpo_rank")
    assert found.advantage == said
    assert (found.oracle, found.group_size) == ("reference", 5)


def test_the_demos_config_has_the_keys_that_are_read(tmp_path) -> None:
    root = pathlib.Path(__file__).parents[2]
    config = runpy.run_path(str(root / "configs/demo.py"))["get_config"]()
    for algorithm, told in (("grpo_rank", 3), ("grpo", 1), ("ppo", 2)):
        config.rl.algorithm = algorithm
        (tmp_path / "config.json").write_text(config.to_json())
        found = summary(read_record(tmp_path))
        assert len(found.advantage) == told and found.oracle and found.group_size
        assert found.systematic_share and found.random_share


def test_without_a_config_nothing_is_guessed(tmp_path) -> None:
    found = summary(read_record(tmp_path))
    assert found.advantage == () and found.algorithm is found.oracle is found.group_size is None
