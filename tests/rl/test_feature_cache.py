"""RL on visual tokens from disk is RL on the videos, and no video is encoded twice."""

import jax
import numpy as np
import pytest

from orl_jax.rl import stage as rl
from orl_jax.rl.learner import Learner
from orl_jax.run.metrics import read_metrics

pytestmark = pytest.mark.heavy


def trained(config, start, folder, **data):
    settings = config.copy_and_resolve_references().unlock()
    settings.rl.update(init_from=f"{start}/checkpoints/sft", steps=2, validate_every=0)
    settings.data.update(data)
    return rl.train(settings.lock(), str(folder)).trained


@pytest.fixture
def encodings(monkeypatch):
    """Counts calls of the encoder; `_see` is not among them where tokens come from disk."""
    see, count = Learner._see, []

    def counted(self, state, batch):
        count.append("frames" in batch)
        return see(self, state, batch)

    monkeypatch.setattr(Learner, "_see", counted)
    return count


def test_tokens_from_disk_train_the_same_policy(run, tmp_path, encodings):
    config, start = run
    plain = trained(config, start, tmp_path / "plain")
    assert encodings == [True, True]
    for again in ("first", "second"):
        found = trained(config, start, tmp_path / again, features=str(tmp_path / "features"))
        assert encodings[-2:] == [False, False]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, found)
    (folder,) = (tmp_path / "features").iterdir()
    lines = (folder / "rows.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == config.data.scenes.train
    first, second = (read_metrics(str(tmp_path / name), "rl") for name in ("first", "second"))
    assert [r["loss"] for r in first] == [r["loss"] for r in second]


def test_an_adapter_that_is_trained_has_no_lasting_tokens(run, tmp_path, encodings, caplog):
    config, start = run
    settings = config.copy_and_resolve_references().unlock()
    settings.rl.trainable = ((".*/lora_[ab]|adapter/.*", "train"), (".*", "freeze"))
    trained(settings, start, tmp_path / "run", features=str(tmp_path / "features"))
    assert encodings == [True, True] and not (tmp_path / "features").exists()
    assert "rl.trainable changes the visual tokens" in caplog.text
