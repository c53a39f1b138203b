"""The comparison with a peer: both sides are the same model; steps alternate; refusals."""

import os
import pathlib
import runpy
import sys

import pytest

pytest.importorskip("trl")

from orl_jax.performance.benchmark import peer, peer_model
from orl_jax.performance.benchmark.compiled_steps import CompiledSteps
from orl_jax.performance.benchmark.peer_model import Sizes
from orl_jax.performance.benchmark.peer_process import PeerProcess
from orl_jax.performance.benchmark.run_arrays import RunArrays
from orl_jax.run.errors import Failure, UserError

CONFIG = pathlib.Path(__file__).parents[3] / "configs" / "imported.py"
SIZES = Sizes(
    width=16, layers=2, mlp_width=24, vocabulary=40,
    prompts=2, group=3, prompt=10, response=4, rank=2,
)  # fmt: skip


def imported():
    return runpy.run_path(str(CONFIG))["get_config"]().unlock()


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_imported_model_is_the_peers(tmp_path, offline):
    folder = peer_model.make_folder(tmp_path / "model", SIZES)
    prompts, ids = peer_model.texts(folder, SIZES)
    assert ids.shape == (2, 10) and len(prompts) == 2
    shapes, params = peer_model.import_folder(imported(), folder, SIZES)
    assert shapes.tokens.vocabulary_size == 40
    held = RunArrays(shapes, CompiledSteps(shapes), params, ids)
    with PeerProcess("trl", folder, SIZES, prompts, "") as trl:
        assert peer.check_same(held, trl) < peer.TOLERANCE
        layers = params["language"]["layers"]
        layers["q"]["kernel"] = 1.1 * layers["q"]["kernel"]
        other = RunArrays(shapes, CompiledSteps(shapes), params, ids)
        with pytest.raises(Failure, match="not the same model"):
            peer.check_same(other, trl)


TUNIX = os.environ.get("ORL_TUNIX_PYTHON", "")
WITH_TUNIX = pytest.mark.skipif(
    not TUNIX, reason="needs ORL_TUNIX_PYTHON, the Python of an environment with Tunix"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trl", pytest.param("tunix", marks=WITH_TUNIX)])
def test_steps_alternate(offline, name):
    pairs, python = [], TUNIX if name == "tunix" else ""
    found = peer.compare(name, imported(), SIZES, 2, lambda: pairs.append(0), python=python)
    assert len(pairs) == 2 and found["largest_gap"] < peer.TOLERANCE
    for side in ("ours", "theirs"):
        assert len(found[side]["samples"]) == 2 and all(found[side]["parts"].values())
    assert found["sizes"]["parameters"] > 40 * 16 * 2


def test_refusals(offline):
    with pytest.raises(UserError, match="--peer=verl; choose one of trl, tunix"):
        peer.compare("verl", imported(), SIZES, 1, lambda: None)
    with pytest.raises(UserError, match="give that environment's Python as --peer_python"):
        peer.compare("tunix", imported(), SIZES, 1, lambda: None)
    for python, said in (("no/python", "No such file"), (sys.executable, "No module named")):
        with pytest.raises(UserError, match=f"--peer_python={python}.*{said}"):
            peer.compare("tunix", imported(), SIZES, 1, lambda: None, python=python)
    config = imported()
    del config.weights
    with pytest.raises(UserError, match="configs/imported.py"):
        peer.compare("trl", config, SIZES, 1, lambda: None)
