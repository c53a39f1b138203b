"""What may change when a run is resumed, and what may not."""

import json

import numpy as np
import pytest

from orl_jax.run.checkpoint import Checkpoints, locate
from orl_jax.run.errors import UserError
from orl_jax.training.resuming import check_same, differences, identity, may_change

STORED = {"name": "served", "served": {"model": "a", "timeout": 60.0}, "seed": 0}


@pytest.mark.parametrize(
    "now, different",
    [
        (STORED, []),
        ({**STORED, "lag": 1}, []),  # a key that was not there then
        ({"name": "served"}, []),
        ({**STORED, "seed": 1}, [("seed", 0, 1)]),
        ({**STORED, "served": {"model": "b", "timeout": 60.0}}, [("served.model", "a", "b")]),
        ({**STORED, "served": {**STORED["served"], "new": 1}}, []),
        ({**STORED, "served": ()}, [("served", STORED["served"], ())]),
    ],
)
def test_differences_by_hand(now, different):
    assert list(differences(STORED, now)) == different


CONFIG = {
    "seed": 0,
    "data": {"folder": "a", "frames": 8, "workers": 0, "scenes": {"train": 9}},
    "model": {"lora": {"alpha": 32.0}, "vision": {"width": 16, "remat": False}},
    "sft": {"steps": 4, "learning_rate": 0.1, "lora": False, "init_from": "x"},
    "rl": {"steps": 4, "learning_rate": 0.1, "init_from": "x"},
    "oracle": {"name": "served", "served": {"address": "http://a", "model": "m"}},
    "monitors": {"window": 10},
}


def changed(key, value):
    """The config with another value of a dotted key."""
    section, _, rest = key.partition(".")
    if not rest:
        return {**CONFIG, key: value}
    tree, *names = json.loads(json.dumps(CONFIG)), *key.split(".")
    holder = tree
    for name in names[:-1]:
        holder = holder[name]
    holder[names[-1]] = value
    return tree


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("resuming"))
    with Checkpoints(folder, "sft") as sft:
        sft.save(2, {"w": np.zeros(2)}, {})
        sft.wait()
        sft.save(4, {"w": np.ones(2)}, {})
    base = locate(f"{folder}/checkpoints/sft/2")
    with Checkpoints(folder, "rl") as rl:
        now = identity("words", "items", base, {"a.mp4": "1", "b.mp4": "2", "c.mp4": "3"})
        rl.save(1, {"w": np.zeros(2)}, {"config": CONFIG, "base": "checkpoints/sft/2", **now})
        yield rl


RL = ("rl", "oracle")


@pytest.mark.parametrize(
    "key, value",
    [
        ("seed", 1), ("data.frames", 4), ("model.lora.alpha", 256.0), ("model.vision.width", 8),
        ("rl.learning_rate", 0.2), ("oracle.name", "reference"), ("oracle.served.model", "n"),
    ],
)  # fmt: skip
def test_what_a_run_is_may_not_change(checkpoints, key, value):
    with pytest.raises(UserError, match=f"was trained with {key}=.*the config says {value!r}"):
        check_same(checkpoints, RL, changed(key, value))


@pytest.mark.parametrize(
    "key, value",
    [
        ("rl.steps", 9), ("rl.init_from", "y"), ("data.folder", "b"), ("data.workers", 2),
        ("data.scenes.train", 3), ("model.vision.remat", True), ("monitors.window", 3),
        ("oracle.served.address", "http://b"), ("sft.learning_rate", 1.0), ("audit", {}),
    ],
)  # fmt: skip
def test_how_it_is_run_may_change(checkpoints, key, value):
    check_same(checkpoints, RL, changed(key, value))


def test_adapters_count_only_where_there_are_some(checkpoints):
    alpha = changed("model.lora.alpha", 256.0)
    check_same(checkpoints, ("vision",), alpha)
    check_same(checkpoints, ("sft",), alpha)
    for lora in (True, False):
        assert may_change("model.lora.rank", ("sft",), {"sft": {"lora": lora}}) == (not lora)


def test_what_the_config_names_is_compared_by_content(checkpoints):
    sft = checkpoints.folder.parent / "sft"
    same = identity("words", "items", locate(f"{sft}/2"))
    check_same(checkpoints, RL, CONFIG, same)
    check_same(checkpoints, RL, CONFIG, same | {"videos": {"a.mp4": "1", "new.mp4": "4"}})
    check_same(checkpoints, RL, CONFIG, {})  # nothing is known, as of an earlier version
    videos = {"a.mp4": "1", "b.mp4": "9", "new.mp4": "4"}  # c.mp4 cannot be read now
    for other, words in (
        ({"videos": videos}, r"other videos: b.mp4 has changed since, and 0 more of the 3"),
        ({"tokenizer": "permuted"}, "another tokenizer.*words, now permuted"),
        ({"items": "others"}, "other training data"),
        (identity("words", "items", locate(str(sft))), r"from sft step 2 .*means sft step 4"),
    ):
        with pytest.raises(UserError, match=words):
            check_same(checkpoints, RL, CONFIG, same | other)
