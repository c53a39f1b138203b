"""The examples of docs/python.md run as they stand, with the paths of the tiny run."""

import contextlib
import io
import pathlib
import re

import numpy as np
import pytest

from orl_jax.data.source import open_split
from orl_jax.models.assembly import load_params
from orl_jax.models.params import flatten
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.policy import Policy
from orl_jax.run.errors import UserError

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "python.md"


def blocks():
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def executed(code):
    """What a block has defined, and what it printed."""
    names, said = {"__name__": "page"}, io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, str(PAGE), "exec"), names)
    return names, said.getvalue()


@pytest.fixture(scope="module")
def clip(run):
    folder = pathlib.Path(run[0].data.folder)
    return str(folder / open_split(folder, "train")[0]["video"])


def test_one_update_by_ones_own_judgement(run, clip, tmp_path):
    mine = str(tmp_path / "mine")
    paths = {
        "runs/demo/checkpoints/sft": f"{run[1]}/checkpoints/sft", "clip.mp4": clip,
        "runs/mine": mine,
    }  # fmt: skip
    code = blocks()[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 16
    for written, here in paths.items():
        assert written in code
        code = code.replace(written, here)
    names, said = executed(code)
    policy, group = names["policy"], names["group"]
    assert len(group.texts) == 5 and all(text in said for text in group.texts)
    assert all(np.isfinite(value) for value in names["metrics"].values())
    assert names["metrics"]["sampler/logprob_gap_max"] < 1e-3
    assert int(policy.state.step) == 1
    stored, now = flatten(load_params(f"{mine}/checkpoints/rl")), flatten(policy.params)
    assert stored.keys() == now.keys()
    for path, value in now.items():
        np.testing.assert_array_equal(stored[path], value, err_msg=path)
    one, other = (policy.sample(clip, "What does the red circle do?") for _ in range(2))
    assert one.texts != other.texts  # fresh noise


def test_an_update_lifts_what_is_ranked_first(run, clip):
    """Of a group of two distinct responses; the reference pulls back only later."""
    policy = Policy.load(f"{run[1]}/checkpoints/sft", learning_rate=0.02)
    group = policy.sample(clip, "What does the red circle do?", group_size=3)
    order = [0.0, 1.0, 2.0]
    first = policy.update(group, order)
    assert first["ratio/mean"] == pytest.approx(1, abs=1e-4)
    before = np.array(group.log_probs)
    for _ in range(4):
        policy.update(group, order)
    params, batch = policy.params, group.batch
    scorer = policy._algorithm.scorer
    found = scorer.policy_log_prob(params, policy._of_size(3).banned, batch)
    after = np.asarray((found * batch.responses.mask).sum(axis=-1))[0]
    change = after - before
    assert change[0] > change[2]


def test_a_rank_is_needed_for_each_response(run, clip):
    policy = Policy.load(f"{run[1]}/checkpoints/sft")
    group = policy.sample(clip, "What moves?", group_size=3)
    with pytest.raises(UserError, match="2 ranks for a group of 3 responses"):
        policy.update(group, [0.0, 1.0])
    for ranks in ([0.0, np.nan, 1.0], [0.0, None, 1.0], np.zeros((3, 2))):
        with pytest.raises(UserError, match="each must be a finite number"):
            policy.update(group, ranks)
    for size in (0, 2.5):
        with pytest.raises(UserError, match=f"group_size is {size}; it must be an integer"):
            policy.sample(clip, "What moves?", group_size=size)
    with pytest.raises(UserError, match="none.mp4"):
        policy.sample("none.mp4", "What moves?")
    with pytest.raises(UserError, match=r"the limit is 32; .*Policy.load\(…, prompt_tokens=\d+\)"):
        policy.sample(clip, "What moves? " * 20)
    wider = Policy.load(f"{run[1]}/checkpoints/sft", prompt_tokens=200)
    assert wider._assembly.encoder.prompt_length == 200


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        ("vision", {}, "checkpoints/vision holds no language parameters"),
        ("sft", {"learning_rate": -1.0}, "learning_rate is -1.0; it must be at least 0"),
        ("sft", {"temperature": 0}, "temperature is 0; it must be greater than 0"),
        ("sft", {"max_tokens": -1}, "max_tokens is -1; it must be at least 0"),
        ("sft", {"prompt_tokens": -1}, "prompt_tokens is -1; it must be at least 0"),
    ],
)
def test_what_cannot_be_loaded(run, stage, settings, message):
    with pytest.raises(UserError, match=message):
        Policy.load(f"{run[1]}/checkpoints/{stage}", **settings)


@pytest.mark.parametrize(("algorithm", "form"), [("grpo_rank", "centred"), ("grpo", "signed")])
def test_an_estimator_knows_its_forms(algorithm, form):
    with pytest.raises(ValueError, match=f"unknown form '{form}' of {algorithm}; choose one of"):
        Estimator(algorithm, form)


def test_a_policy_does_not_save_below_another_one(run, tmp_path):
    """The newest step is the one that is loaded: the policy saved last must be that one."""
    first, second = (Policy.load(f"{run[1]}/checkpoints/sft") for _ in range(2))
    first.save(str(tmp_path))
    first.save(str(tmp_path))
    with pytest.raises(UserError, match="has step 0 of another policy, .* choose another folder"):
        second.save(str(tmp_path))


def test_advantages_inside_of_another_training_loop():
    torch = pytest.importorskip("torch", reason="pip install -e .[torch]")
    names, said = executed(blocks()[1])
    assert said.startswith("tensor(")
    found = names["grpo_rank_advantages"](names["rewards"], 3)
    assert found.shape == (6,) and found.dtype == torch.float32
    advantages = found.numpy().reshape(2, 3)
    np.testing.assert_allclose(advantages.sum(axis=1), 0, atol=1e-6)
    assert advantages[0].argmax() == 1 and advantages[1].argmax() == 1
    assert found.device == names["rewards"].device
