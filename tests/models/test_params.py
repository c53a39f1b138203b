"""Tables of trained parameters: all are covered, none is lost, errors name the parameter."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import FRAMES, make_prompts, make_vlm

from configs import demo
from orl_jax.models import assembly
from orl_jax.models.params import combine, count, flatten, masters, missing, partition
from orl_jax.models.sharding.layout import Layout
from orl_jax.run.errors import UserError

TREE = {
    "a": {"x": np.ones((2, 3), np.float32), "y": np.zeros(4, np.float32)},
    "b": {"c": {"x": np.ones(1, np.float32)}},
}
PATHS = ["a/x", "a/y", "b/c/x"]


def same(first, second):
    assert flatten(first).keys() == flatten(second).keys()
    for path, value in flatten(first).items():
        np.testing.assert_array_equal(value, flatten(second)[path], err_msg=path)


def test_paths():
    assert list(flatten(TREE)) == PATHS


def test_the_first_rule_that_matches_the_whole_path_decides():
    trained, frozen = partition(TREE, [("a/x", "train"), ("a/.*", "freeze"), (".*/x", "train")])
    assert list(flatten(trained)) == ["a/x", "b/c/x"]
    assert list(flatten(frozen)) == ["a/y"]
    with pytest.raises(UserError, match="a/x"):
        partition(TREE, [("x", "train"), ("b", "train")])  # parts of paths only


@given(st.lists(st.sampled_from(["train", "freeze"]), min_size=3, max_size=3))
def test_combine_undoes_partition(actions):
    rules = list(zip(PATHS, actions, strict=True))
    if "train" not in actions:
        with pytest.raises(UserError, match="train no parameter"):
            partition(TREE, rules)
        return
    trained, frozen = partition(TREE, rules)
    assert not flatten(trained).keys() & flatten(frozen).keys()
    same(combine(trained, frozen), TREE)
    same(combine(frozen, trained), TREE)


def test_later_parts_override_earlier_ones():
    out = combine(TREE, {"a": {"y": np.full(4, 7.0)}})
    same(out, {"a": {"x": TREE["a"]["x"], "y": np.full(4, 7.0)}, "b": TREE["b"]})
    assert not TREE["a"]["y"].any()


@pytest.mark.parametrize("missing", PATHS)
def test_a_parameter_that_no_rule_covers_is_named(missing):
    rules = [(path, "train") for path in PATHS if path != missing]
    with pytest.raises(UserError, match=f"no rule of `trainable` covers the parameter {missing};"):
        partition(TREE, rules)


def test_an_unknown_action_is_refused():
    with pytest.raises(UserError, match=r"rule 'b/\.\*' says 'frozen'; choose train or freeze"):
        partition(TREE, [("a/.*", "train"), ("b/.*", "frozen")])


def test_the_encoder_which_gets_no_gradient_is_not_trained():
    tree = {"vision": TREE["a"], "language": TREE["b"]}
    with pytest.raises(UserError, match="train vision/x, which gets no gradient.*freeze"):
        partition(tree, [(".*", "train")])
    trained, frozen = partition(tree, [("vision/.*", "freeze"), (".*", "train")])
    assert (list(trained), list(frozen)) == (["language"], ["vision"])


def test_what_a_stage_does_not_use_is_not_trained():
    tree = {"language": {"lm_head": TREE["a"]["x"], "layers": TREE["b"]}}
    unused = {"language/lm_head": "answers are scored without it"}
    with pytest.raises(UserError, match=r'lm_head, .*without it; .*\("language/lm_head", "freeze"'):
        partition(tree, [(".*", "train")], unused)
    rules = [("language/lm_head", "freeze"), (".*", "train")]
    assert list(partition(tree, rules, unused)[0]["language"]) == ["layers"]


def test_missing_parameters_are_those_the_checkpoint_lacks():
    assert missing(TREE, {"a": {"x": np.zeros((2, 3))}}) == ["a/y", "b/c/x"]
    assert missing(TREE, TREE) == []


def test_pretrained_parameters_that_do_not_fit_are_named():
    with pytest.raises(UserError, match="the checkpoint holds b/z, which this model does not have"):
        missing(TREE, {"b": {"z": np.ones(1)}})
    message = r"a/y has shape \(5,\) in the checkpoint and \(4,\) in the model"
    with pytest.raises(UserError, match=message):
        missing(TREE, {"a": {"y": np.ones(5)}})


def test_trained_parameters_are_float32():
    out = masters({"a": {"x": jnp.full((2,), 0.1, jnp.bfloat16)}})
    assert out["a"]["x"].dtype == np.float32
    same(out, {"a": {"x": np.full((2,), 0.10009765625, np.float32)}})  # 0.1 in bfloat16


def test_count():
    assert count(TREE) == 6 + 4 + 1


@pytest.fixture(scope="module")
def shapes():
    prompts = make_prompts(1)
    frames = np.zeros((1, FRAMES, 8, 8, 3), np.uint8)
    model = make_vlm()
    return jax.eval_shape(model.init, jax.random.key(0), frames, prompts.prompt)["params"]


def test_rl_of_the_demo_trains_only_the_adapters(shapes):
    trained, frozen = partition(shapes, demo.get_config().rl.trainable)
    projections = ("q", "k", "v", "o", "gate", "up", "down")
    assert set(flatten(trained)) == {
        f"language/layers/{name}/lora_{part}" for name in projections for part in "ab"
    }
    assert flatten(frozen).keys() | flatten(trained).keys() == flatten(shapes).keys()


def test_sft_of_the_demo_trains_all_but_the_encoder(shapes):
    _, frozen = partition(shapes, demo.get_config().sft.trainable)
    assert set(frozen) == {"vision"}
    assert flatten(frozen["vision"]).keys() == flatten(shapes["vision"]).keys()


def test_drawing_traces_the_model_once(monkeypatch):
    draw, traced = assembly.draw_params, []
    monkeypatch.setattr(assembly, "draw_params", lambda *a: traced.append(a) or draw(*a))
    model, layout = make_vlm(width=4), Layout.of({"data": 1})
    params = assembly.initial_params(assembly.Assembly(model, None, layout, "float16"), 3)
    assert len(traced) == 1
    drawn = jax.jit(partial(draw, model, "float16"))(jax.random.key(3))
    same(params, unflatten_dict(drawn, sep="/"))
