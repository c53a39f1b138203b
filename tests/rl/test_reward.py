"""Preference pairs, the reward model, and the algorithms that read scores, on the tiny run."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from tiny_run import CONFIG

import scripts
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.preferences import read_preferences
from orl_jax.models import assembly as assemblies
from orl_jax.oracles import RankRequest, make_oracle
from orl_jax.oracles.ranking import Ranking
from orl_jax.rl import reward
from orl_jax.rl import stage as rl
from orl_jax.rl.preferences import _pair
from orl_jax.rl.score_model import split_by_video
from orl_jax.rl.score_oracle import TRAINED, ScoreOracle
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.errors import TrainingHalted, UserError
from orl_jax.run.metrics import read_metrics

pytestmark = pytest.mark.heavy


def changed(config, **overrides):
    """A copy of the config with dotted keys set; without validation, which compiles for long."""
    copy = config.copy_and_resolve_references().unlock()
    copy.update_from_flattened_dict({"rl.validate_every": 0, **overrides})
    return copy


@pytest.fixture(scope="module")
def rewarded(run, tmp_path_factory):
    """(config, workdir) of the tiny run after preferences and the reward model."""
    workdir = str(tmp_path_factory.mktemp("rewarded") / "run")
    shutil.copytree(run[1], workdir)
    flags = (f"--config={CONFIG}:tiny", f"--config.data.folder={run[0].data.folder}")
    flags += (f"--workdir={workdir}",)
    scripts.run("make_preferences", *flags)
    scripts.run("train_reward", *flags)
    return run[0], workdir


@pytest.fixture
def workdir(rewarded, tmp_path):
    shutil.copytree(rewarded[1], tmp_path / "run")
    return str(tmp_path / "run")


def test_pairs_are_of_the_policys_own_answers(rewarded):
    config, workdir = rewarded
    pairs = read_preferences(f"{workdir}/preferences.jsonl")
    assert 0 < len(pairs) <= config.preferences.prompts
    assert all(preferred != rejected for preferred, rejected in (p["answers"] for p in pairs))
    assert all(pair["video"].startswith("videos/train/") for pair in pairs)


def test_a_pair_is_untied_and_points_to_the_better():
    item = {"item_id": "a", "video": "v", "question": "q"}
    group = [("one", False), ("two", False), ("three", True)]
    ranking = Ranking.from_scores([0.5, 1.0, 0.5])
    rng = np.random.default_rng(0)
    lines = [line for _ in range(40) for line in _pair(item, group, ranking, rng)]
    assert {line[f"output_{line['preference']}"]["value"] for line in lines} == {"two"}
    assert {line["preference"] for line in lines} == {
        1,
        2,
    }  # places say nothing
    others = {line[f"output_{3 - line['preference']}"]["value"] for line in lines}
    assert others == {"one", "three"}
    assert _pair(item, group, Ranking.from_scores([1, 1, 1]), rng) == []
    assert _pair(item, group, Ranking.invalid("broken", 3), rng) == []


def test_the_reward_model_learns_and_is_validated(rewarded):
    config, workdir = rewarded
    rows = read_metrics(workdir, "reward")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)  # a head of zeros
    assert losses[-1] != losses[0]
    validated = [row["step"] for row in rows if "validation/accuracy" in row]
    assert validated == [0, 2, 4]
    assert rows[0]["validation/accuracy"] == 0.5  # all tied
    assert assemblies.load_auxiliary(f"{workdir}/checkpoints/reward", "heads")["reward"]


def test_videos_do_not_leak_into_the_held_out_pairs():
    pairs = [{"video": f"v{i // 3}"} for i in range(90)]
    training, held_out = split_by_video(pairs, 0.3, "reward")
    assert len(training) + len(held_out) == 90
    assert not {p["video"] for p in training} & {p["video"] for p in held_out}
    with pytest.raises(UserError, match="too few to hold out.*config.reward.held_out"):
        split_by_video(pairs[:1], 0.3, "reward")


def test_the_reward_model_is_an_oracle(rewarded):
    config, workdir = rewarded
    checkpoint = f"{workdir}/checkpoints/reward"
    oracle = ScoreOracle(TRAINED["reward"], checkpoint, config.data.folder, FrameCache(0))
    item = rl.open_split(config.data.folder, "train")[0]
    request = RankRequest(
        "a", item["question"], (item["answer"], "no", "no"), (False, False, True),
        video=str(pathlib.Path(config.data.folder) / item["video"]),
    )  # fmt: skip
    missing = RankRequest("b", "q", ("x", "y", "z"), video="/nowhere.mp4")
    ranking, invalid = oracle.rank([request, missing])
    assert ranking.valid and len(set(ranking.scores)) == 3
    assert not invalid.valid and "nowhere" in invalid.reason
    assert oracle.rank([request, request])[1].scores == pytest.approx(ranking.scores, abs=1e-5)


def test_ppo_trains_from_the_reward_model_and_resumes(rewarded, workdir, tmp_path):
    config = changed(
        rewarded[0],
        **{
            "rl.algorithm": "ppo",
            "oracle.name": "reward",
            "oracle.checkpoint": f"{rewarded[1]}/checkpoints/reward",
        },
    )
    assert rl.value_model_start(config) == config.oracle.checkpoint
    state = rl.train(config, workdir)
    rows = [row for row in read_metrics(workdir, "rl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(np.isfinite(row["value/loss"]) for row in rows)
    assert rows[0]["sampler/logprob_gap_max"] < 1e-4
    assert "value" in state.trained and "value" not in state.reference
    policy = assemblies.load_params(f"{workdir}/checkpoints/rl")
    assert set(policy) == {"vision", "adapter", "language"}
    # the value model began as the reward model, head and all
    head = assemblies.load_auxiliary(config.oracle.checkpoint, "heads")["reward"]["kernel"]
    learner = make_learner(config, workdir)
    np.testing.assert_array_equal(learner.start().trained["value"]["head"]["kernel"], head)
    again = rl.train(changed(config, **{"rl.steps": 6}), workdir)
    assert int(again.step) == 6


def make_learner(config, workdir):
    assembly = assemblies.assemble(config, lora=True)
    params = assemblies.initial_params(
        assembly, 0, assemblies.load_params(f"{workdir}/checkpoints/sft")
    )
    return rl.make_learner(config, assembly, params, None, workdir, 1)


@pytest.mark.parametrize("kl_estimator", ["k3", "exact"])
def test_grpo_reads_scores_that_are_distorted(rewarded, workdir, kl_estimator):
    overrides = {
        "rl.algorithm": "grpo", "rl.kl_estimator": kl_estimator, "oracle.name": "distorted",
        "rl.steps": 2,
    }  # fmt: skip
    rl.train(changed(rewarded[0], **overrides), workdir)
    rows = [row for row in read_metrics(workdir, "rl") if "loss" in row]
    assert rows[-1]["kl"] >= -1e-6  # rounding
    lines = pathlib.Path(workdir, "rollouts", "1.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        scores, advantages = np.array(line["oracle_scores"]), np.array(line["advantages"])
        expected = (scores - scores.mean()) / (scores.std(ddof=1) + 1e-4)
        np.testing.assert_allclose(advantages, expected, atol=1e-3)


def test_what_the_reward_model_does_not_use_is_not_trained(rewarded, workdir):
    rules = (("vision/.*", "freeze"), (".*", "train"))
    config = changed(rewarded[0], **{"reward.trainable": rules})
    with pytest.raises(UserError, match="train language/lm_head, which gets no gradient"):
        reward.train(config, workdir)


def test_an_oracle_without_scores_is_refused_by_name(rewarded, workdir):
    config = changed(rewarded[0], **{"rl.algorithm": "grpo", "oracle.name": "top"})
    with pytest.raises(UserError, match="grpo, which needs scores, and the Oracle top"):
        rl.train(config, workdir)


def test_a_reward_oracle_without_a_checkpoint_is_refused(rewarded, workdir):
    with pytest.raises(UserError, match="oracle.checkpoint is empty"):
        rl.train(changed(rewarded[0], **{"oracle.name": "reward"}), workdir)
    with pytest.raises(UserError, match="holds no heads"):
        config = changed(
            rewarded[0],
            **{"oracle.name": "reward", "oracle.checkpoint": f"{workdir}/checkpoints/sft"},
        )
        rl.train(config, workdir)


def test_a_wrong_direction_halts_training_with_a_checkpoint(rewarded, workdir, monkeypatch):
    overrides = {
        "rl.advantage.form": "printed", "rl.advantage.discount": "printed",
        "monitors.stop_on": ("wrong_direction",), "monitors.direction_floor": 1.0,
    }  # fmt: skip
    config = changed(rewarded[0], **overrides)
    with pytest.raises(TrainingHalted, match="wrong_direction"):
        rl.train(config, workdir)
    with Checkpoints(workdir, "rl") as checkpoints:
        assert checkpoints.latest_step() == 1
    alarms = pathlib.Path(workdir, "alarms.jsonl").read_text().splitlines()
    assert json.loads(alarms[0])["name"] == "wrong_direction"
    rl.train(config, workdir)  # resumes: the alarm was on already
    assert [row["step"] for row in read_metrics(workdir, "rl") if "loss" in row] == [1, 2, 3, 4]


def test_make_oracle_knows_the_wrappers_of_the_config(rewarded):
    section = rewarded[0].oracle.to_dict()
    for name in ("reference", "noisy", "reversed", "top", "coarse", "distorted"):
        assert make_oracle({**section, "name": name})
