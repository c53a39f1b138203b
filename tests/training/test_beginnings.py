"""Stages refuse checkpoints that they cannot begin from, before anything is trained."""

import json
import shutil

import pytest

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.evaluation.evaluate import evaluate
from orl_jax.models import assembly as assemblies
from orl_jax.rl import preferences
from orl_jax.rl import stage as rl
from orl_jax.rl.policy import Policy
from orl_jax.run.errors import UserError
from orl_jax.training import sft


def changed(config, **overrides):
    config = config.copy_and_resolve_references().unlock()
    config.update_from_flattened_dict(overrides)
    return config


@pytest.fixture
def swapped(run, tmp_path):
    """The folder of the run's tokenizer with two words exchanged."""
    folder = tmp_path / "tokenizer"
    shutil.copytree(f"{run[0].data.folder}/tokenizer", folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    words["▁red"], words["▁blue"] = words["▁blue"], words["▁red"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return str(folder)


def test_another_tokenizer_of_the_same_size_is_refused(run, tmp_path, swapped):
    base = f"{run[1]}/checkpoints/sft"
    message = "sft was trained with another tokenizer .* equally many tokens .*config.data.tokeniz"
    for stage, keys in ((rl, {"rl.init_from": base}), (sft, {"sft.init_from": base})):
        config = changed(run[0], **{"data.tokenizer": swapped} | keys)
        with pytest.raises(UserError, match=message):
            stage.train(config, str(tmp_path / "run"))
    data = tmp_path / "data"
    shutil.copytree(run[0].data.folder, data)
    shutil.rmtree(data / "tokenizer")
    shutil.move(swapped, data / "tokenizer")
    with pytest.raises(UserError, match=message):
        evaluate(changed(run[0], **{"data.folder": str(data)}), base, progress=False)


def test_a_larger_tokenizer_is_refused_with_the_right_remedy(run, tmp_path):
    folder = tmp_path / "tokenizer"
    build_word_tokenizer([f"w{i}" for i in range(2000)]).save_pretrained(str(folder))
    config = changed(
        run[0], **{"data.tokenizer": str(folder), "rl.init_from": f"{run[1]}/checkpoints/sft"}
    )
    with pytest.raises(
        UserError, match=r"a tokenizer of \d+ tokens, and .*; set config.data.token"
    ):
        rl.train(config, str(tmp_path / "run"))


@pytest.mark.parametrize("stage", [rl.train, preferences.make_preferences])
def test_a_checkpoint_without_a_language_model_is_no_policy(run, tmp_path, stage):
    base = f"{run[1]}/checkpoints/vision"
    (tmp_path / "run").mkdir()
    keys = {"rl.init_from": base, "preferences.init_from": base}
    with pytest.raises(UserError, match="vision holds no language parameters"):
        stage(changed(run[0], **keys), str(tmp_path / "run"))
    with pytest.raises(UserError, match="vision holds no language parameters"):
        Policy.load(base)


def test_sft_without_an_encoder_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="no checkpoint holds vision/.*sft.init_from.*vision.py"):
        sft.train(changed(run[0], **{"sft.init_from": ""}), str(tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_sft_on_words_that_the_tokenizer_does_not_know_is_refused(run, tmp_path):
    folder = tmp_path / "tokenizer"
    build_word_tokenizer(["What does the dog do?", "It barks."]).save_pretrained(str(folder))
    with pytest.raises(UserError, match="words of the answers can never be said"):
        sft.train(changed(run[0], **{"data.tokenizer": str(folder)}), str(tmp_path / "run"))


def test_texts_that_are_too_long_are_refused_before_any_step(run, tmp_path):
    keys = {"data.prompt_tokens": 16, "rl.init_from": f"{run[1]}/checkpoints/sft"}
    for stage in (sft, rl):
        with pytest.raises(UserError, match="different prompts are too long; the longest"):
            stage.train(changed(run[0], **keys), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_phases_of_the_curriculum_without_questions_are_left_out(run, caplog):
    def phases(curriculum):
        config = changed(run[0], **{"sft.curriculum": curriculum, "sft.steps": 10})
        assembly = assemblies.assemble(config, lora=False)
        with sft.make_curriculum(config, assembly, FrameCache(0)) as found:
            return [end for end, _ in found._phases]

    assert phases(((0.2, (3, 4)), (0.3, (1, 1)), (0.5, (1, 2)))) == [5, 10]
    assert "no question of a difficulty from 3 to 4, so this phase" in caplog.text
    with pytest.raises(UserError, match="no question of a difficulty in config.sft.curriculum"):
        phases(((1.0, (3, 4)),))
