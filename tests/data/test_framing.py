"""The configuration's framing reaches the frames; checkpoints from before that key were cropped."""

from types import SimpleNamespace

import numpy as np
import pytest
from clips import make_encoder, make_item, write_clip
from ml_collections import ConfigDict

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.plan import Plan
from orl_jax.data.video import FRAMINGS, ClipFormat, read_frames
from orl_jax.data.video_settings import VideoSettings
from orl_jax.evaluation import evaluator as evaluator_module
from orl_jax.evaluation.settings import EvaluationSettings
from orl_jax.models.sharding.layout import Layout
from orl_jax.report.frames import Frames
from orl_jax.report.html import _frames
from orl_jax.report.record import read_record
from orl_jax.rl import score_model
from orl_jax.rl import stage as rl
from orl_jax.run import config as configs
from orl_jax.run.config import up_to_date
from orl_jax.training import sft

F, SIZE = 2, 16
ASSEMBLY = SimpleNamespace(model=None, encoder=make_encoder(2), layout=Layout.of())
PAIR = {"answers": (("It is red.", False), ("It is blue.", True)), "ranks": (0.0, 1.0)}
SETTINGS = (({}, "crop"), ({"framing": "crop"}, "crop"), ({"framing": "pad"}, "pad"))


def config_of(folder, **data) -> ConfigDict:
    stage = {"batch_size": 1, "questions": 1, "answers": "clean"}
    data |= {"frames": F, "image_size": SIZE, "folder": str(folder), "workers": 0}
    config = ConfigDict(
        {
            "seed": 0,
            "data": data | {"bad_video": "raise"},
            "rl": stage | {"max_response_tokens": 8, "temperature": 1.0},
            "reward": stage,
            "sft": stage,
            "evaluation": stage | {"samples": 1, "validation_items": 1},
            "model": {},
        }
    )
    return up_to_date(config)


def of_rl(config, item):
    return rl.make_loader(config, ASSEMBLY, [item], FrameCache(0))


def of_reward(config, item):
    videos, plan = VideoSettings.of(config.data), Plan(config.reward.batch_size)
    cache, items = FrameCache(0), [item | PAIR]
    return score_model.make_loader(ASSEMBLY.encoder, videos, 8, cache, items, plan)


def of_sft(config, item):
    return sft._loader(config, ASSEMBLY, FrameCache(0), [item | {"items": [item]}])


@pytest.mark.parametrize("make", [of_rl, of_reward, of_sft])
@pytest.mark.parametrize(("data", "framing"), SETTINGS)
def test_stages_read_as_the_configuration_says(tmp_path, make, data, framing):
    wide = write_clip(tmp_path / "wide.mp4", 4, size=(80, 48))
    with make(config_of(tmp_path, **data), make_item(1, wide.name)) as source:
        frames = next(source)["frames"][0]
    np.testing.assert_array_equal(frames, read_frames(wide, ClipFormat(F, SIZE, framing)))


@pytest.mark.parametrize(("data", "framing"), SETTINGS)
def test_evaluation_reads_as_the_checkpoint_says(tmp_path, monkeypatch, data, framing):
    class Asked(Exception):
        pass

    def ask(_, videos, **others):
        raise Asked(videos.clip.framing)

    monkeypatch.setattr(evaluator_module, "batches", ask)
    monkeypatch.setattr(evaluator_module, "banned_tokens", lambda _: None)
    settings = EvaluationSettings.of(config_of(tmp_path, **data))
    evaluator = evaluator_module.Evaluator(settings, ASSEMBLY)
    with pytest.raises(Asked, match=framing):
        evaluator.predict({}, evaluator.read([make_item(1, "wide.mp4")]))


@pytest.mark.parametrize(("data", "framing"), SETTINGS)
def test_the_report_shows_what_the_policy_saw(tmp_path, data, framing):
    write_clip(tmp_path / "wide.mp4", 4, size=(80, 48))
    configs.write(config_of(tmp_path, **data), str(tmp_path))
    shown = _frames(read_record(tmp_path), tmp_path)("wide.mp4")
    by_framing = {
        name: Frames(tmp_path, ClipFormat(F, SIZE, name))("wide.mp4") for name in FRAMINGS
    }
    assert len(shown) == F
    assert [name for name in FRAMINGS if by_framing[name] == shown] == [framing]
