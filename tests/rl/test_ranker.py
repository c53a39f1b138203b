"""A trained ranker on the tiny run: it learns orders, is validated, resumes, and is an Oracle."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from tiny_run import CONFIG

import scripts
from orl_jax.data.frame_cache import FrameCache
from orl_jax.oracles import RankRequest, make_oracle
from orl_jax.rl import ranker
from orl_jax.rl import stage as rl
from orl_jax.rl.preferences import with_distractors
from orl_jax.rl.score_model import pairs_right
from orl_jax.rl.score_oracle import device_oracles
from orl_jax.run.errors import UserError
from orl_jax.run.metrics import read_metrics

pytestmark = pytest.mark.heavy


def changed(config, **overrides):
    copy = config.copy_and_resolve_references().unlock()
    copy.update_from_flattened_dict(overrides)
    return copy


@pytest.fixture(scope="module")
def ranked(run, tmp_path_factory):
    """(config, workdir) of the tiny run after preferences and a ranker."""
    workdir = str(tmp_path_factory.mktemp("ranked") / "run")
    shutil.copytree(run[1], workdir)
    flags = (f"--config={CONFIG}:tiny", f"--config.data.folder={run[0].data.folder}")
    flags += (f"--workdir={workdir}",)
    scripts.run("make_preferences", *flags)
    scripts.run("train_oracle", *flags)
    return run[0], workdir


def test_it_learns_from_whole_groups_and_is_validated(ranked):
    config, workdir = ranked
    lines = pathlib.Path(workdir, "groups.jsonl").read_text().splitlines()
    groups = list(map(json.loads, lines))
    assert len(groups) == config.preferences.prompts
    assert {len(group["responses"]) for group in groups} == {config.preferences.samples}
    assert all(group["video"].startswith("videos/train/") for group in groups)
    items = ranker.read_items(config, workdir)
    assert 0 < len(items) < len(groups)  # some are tied whole
    rows = read_metrics(workdir, "oracle")
    assert [row["step"] for row in rows if "validation/accuracy" in row] == [0, 2, 4]
    assert rows[0]["validation/accuracy"] == 0.5  # a head of zeros
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.log(2) - 1e-4 < losses[0] < np.log(3) + 1e-4  # equal scores of three answers
    assert losses[-1] != losses[0]


def test_it_learns_from_pairs(ranked, tmp_path):
    config = changed(ranked[0], **{"ranker.learn_from": "pairs", "ranker.steps": 1})
    workdir = str(tmp_path / "run")
    shutil.copytree(ranked[1], workdir, ignore=shutil.ignore_patterns("oracle"))
    ranker.train(config, workdir)
    first = next(row for row in read_metrics(workdir, "oracle")[-3:] if "loss" in row)
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-4)


def test_it_goes_on_where_it_stopped_but_not_with_other_settings(ranked, tmp_path):
    workdir = str(tmp_path / "run")
    shutil.copytree(ranked[1], workdir)
    state = ranker.train(changed(ranked[0], **{"ranker.steps": 6}), workdir)
    assert int(state.step) == 6
    with pytest.raises(UserError, match="ranker.learn_from='lists'"):
        ranker.train(changed(ranked[0], **{"ranker.learn_from": "pairs"}), workdir)


def test_it_is_an_oracle_that_orders_and_gives_no_scores(ranked):
    config, workdir = ranked
    section = {"name": "ranker", "checkpoint": f"{workdir}/checkpoints/oracle"}
    oracle = make_oracle(section, device_oracles(config.data.folder, FrameCache(0)))
    item = rl.open_split(config.data.folder, "train")[0]
    video = str(pathlib.Path(config.data.folder) / item["video"])
    answers = (item["answer"], "no", "no", "It")
    request = RankRequest("a", item["question"], answers, (False, False, False, True), video=video)
    (ranking,) = oracle.rank([request])
    assert ranking.valid and not ranking.scores
    assert ranking.ranks[1] == ranking.ranks[2]  # the same answer
    assert len(set(ranking.ranks)) == 3


def test_rl_with_a_ranker(ranked, tmp_path):
    workdir = str(tmp_path / "run")
    shutil.copytree(ranked[1], workdir)
    keys = {
        "oracle.name": "ranker", "oracle.checkpoint": f"{workdir}/checkpoints/oracle",
        "rl.steps": 2, "rl.validate_every": 0,
    }  # fmt: skip
    rl.train(changed(ranked[0], **keys), workdir)
    rows = [row for row in read_metrics(workdir, "rl") if "loss" in row]
    assert [row["oracle/valid_fraction"] for row in rows] == [1, 1]
    with pytest.raises(UserError, match="grpo, which needs scores"):
        grpo = changed(ranked[0], **keys, **{"rl.algorithm": "grpo"})
        rl.train(grpo, shutil.copytree(ranked[1], tmp_path / "grpo"))


def test_without_a_checkpoint_it_is_refused(ranked):
    with pytest.raises(UserError, match="oracle.name is ranker.*checkpoints/oracle"):
        make_oracle({"name": "ranker"}, device_oracles(ranked[0].data.folder, FrameCache(0)))


def test_pairs_right_by_hand():
    scores, ranks = np.array([[3.0, 1.0, 1.0]]), np.array([[0.0, 2.0, 1.0]])
    assert pairs_right(scores, ranks) == [1, 1, 0.5]
    assert pairs_right(scores, np.array([[1.0, 1.0, 1.0]])) == []


def test_distractors_are_answers_to_other_prompts_of_the_type():
    items = [{"task_type": t} for t in ("colour", "count", "colour", "colour", "place")]
    texts = [[(f"{prompt}{sample}", False) for sample in "abc"] for prompt in range(5)]
    names = [[text for text, _ in group] for group in with_distractors(texts, items, 1)]
    assert names == [
        ["0a", "0b", "2a"], ["1a", "1b", "1c"], ["2a", "2b", "3a"], ["3a", "3b", "0a"],
        ["4a", "4b", "4c"],
    ]  # fmt: skip
    two = with_distractors(texts, items, 2)
    assert [text for text, _ in two[0]] == ["0a", "2a", "3a"]
    assert with_distractors(texts, items, 0) == texts


def test_a_wide_margin_ties_all(ranked):
    config, workdir = ranked
    section = {"name": "ranker", "checkpoint": f"{workdir}/checkpoints/oracle", "tie_margin": 1e6}
    oracle = make_oracle(section, device_oracles(config.data.folder, FrameCache(0)))
    item = rl.open_split(config.data.folder, "train")[0]
    video = str(pathlib.Path(config.data.folder) / item["video"])
    (ranking,) = oracle.rank([RankRequest("a", item["question"], ("x", "y"), video=video)])
    assert ranking.ranks == (0.5, 0.5)
