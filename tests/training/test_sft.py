"""The step of SFT in micro-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from orl_jax.models.params import flatten, partition
from orl_jax.training.sft import Lessons, make_step
from orl_jax.training.state import start
from tests.tiny_model import BANNED, FRAMES, make_params, make_prompts, make_responses, make_vlm

B, Q = 4, 2
RULES = (("(adapter|language)/.*", "train"), (".*", "freeze"))


def make_lessons() -> Lessons:
    """Four videos of two questions; targets are of different numbers in each video."""
    rng = np.random.default_rng(2)
    frames = jnp.asarray(rng.integers(0, 256, (B, FRAMES, 8, 8, 3)), jnp.uint8)
    turns = make_responses(B, Q, 5)
    targets = turns.mask & (np.arange(5) >= np.arange(B)[:, None, None] % 3)
    return Lessons(frames, make_prompts(B).prompt, turns, targets)


def test_micro_batches_add_up_to_the_batch():
    optimizer, schedule = optax.sgd(0.1), optax.constant_schedule(0.1)
    trained, frozen = partition(make_params(), RULES)
    lessons = make_lessons()
    assert len(set(np.asarray(lessons.target_mask.sum(axis=(1, 2))).tolist())) > 1
    found = {}
    for micro_batch in (0, 2, 1):
        state = start(jax.tree.map(jnp.copy, trained), optimizer, 0)
        step = jax.jit(make_step(make_vlm(), optimizer, schedule, 0, micro_batch))
        found[micro_batch] = step(state, frozen, BANNED, lessons)
    state, metrics = found.pop(0)
    for other, said in found.values():
        for name in ("loss", "accuracy/token", "grad_norm"):
            assert float(said[name]) == pytest.approx(float(metrics[name]), abs=1e-5), name
        for path, value in flatten(state.trained).items():
            np.testing.assert_allclose(flatten(other.trained)[path], value, atol=1e-5, err_msg=path)
