"""Shared and repeated prompts: the same gradients, and the bytes of their caches."""

import pathlib
import runpy

import jax
import pytest

from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.performance.benchmark import prefix
from orl_jax.performance.benchmark.repeated_prompt import RepeatedScorer
from orl_jax.performance.benchmark.text_model import TextModel
from orl_jax.rl.scorer import Scorer

CONFIG = pathlib.Path(__file__).parents[3] / "configs" / "demo.py"


@pytest.fixture(scope="module")
def model():
    config = runpy.run_path(str(CONFIG))["get_config"]("tiny").unlock()
    config.model.language.layers = 1
    return TextModel(VlmSettings.from_config(config), 20)


def gradient(model, kind):
    batch = model.batch(prompts=2, group=3, prompt=9, response=4)
    step = prefix.make_update(model, prefix.UpdateSettings(), kind)
    state = prefix.initial_state(model)
    state, metrics, ranked = jax.jit(step)(state, model.split[1], model.banned, batch)
    return prefix.gradient(state), metrics, ranked


def test_shared_and_repeated_prompts_have_the_same_gradient(model):
    shared, metrics, ranked = gradient(model, Scorer)
    repeated, *_ = gradient(model, RepeatedScorer)
    assert set(shared) == set(repeated) and len(shared) == 14  # two halves on seven projections
    assert all(abs(leaf).max() > 1e-4 for leaf in shared.values())
    difference = {path: abs(shared[path] - repeated[path]).max() for path in shared}
    assert max(difference.values()) <= prefix.TOLERANCE


def test_repeated_prompts_need_more_cache_for_the_prompts_only(model):
    row = prefix.prefill_row(model, 10, 5, 1)
    shared, repeated = (row["cache_bytes"][name] for name in ("shared", "repeated"))
    assert shared["prompts"] == 2 * 10 * 8 * 4  # keys, values; tokens, width 8, float32
    assert repeated == {"prompts": 5 * shared["prompts"], "answers": shared["answers"]}
    assert shared["answers"] == 2 * 5 * prefix.RESPONSE * 8 * 4
