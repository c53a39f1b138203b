"""What a checkpoint holds of a state, and that those of earlier versions are read."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from orl_jax.models.params import partition
from orl_jax.models.sequences import Responses
from orl_jax.models.sharding.layout import Layout
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.training.state import Ahead, TrainState, shardings, start

SHAPE = (2, 3, 4)


class Sampled(NamedTuple):
    """How commit 37a65d5 stored responses that were sampled ahead."""

    ids: Array
    mask: Array
    log_prob: Array
    old_log_prob: Array


def make_state(ahead):
    trained = {"language": {"lora_a": jnp.arange(3.0)}}
    state = start(trained, optax.adam(0.1), seed=1, with_reference=True)
    return state._replace(ahead=ahead, step=jnp.asarray(5, jnp.int32))


def sampled_ahead():
    numbers = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    ids, mask = np.arange(24, dtype=np.int32).reshape(SHAPE), numbers > 0
    return Ahead(np.asarray(5, np.int32), Responses(ids, mask, numbers), 2 * numbers)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_state_comes_back(tmp_path):
    for number, ahead in enumerate((None, sampled_ahead())):
        state = make_state(ahead)
        with Checkpoints(str(tmp_path / str(number)), "rl") as checkpoints:
            checkpoints.save(5, state.saved(), {})
            restored, _ = checkpoints.restore(like=state.saved())
        assert_same(TrainState.restored(restored), state)
        assert ("ahead" in restored) == (ahead is not None)


def test_responses_that_an_earlier_version_sampled_ahead_are_read(tmp_path):
    state, ahead = make_state(sampled_ahead()), sampled_ahead()
    before = {
        **make_state(None).saved(),
        "ahead": {"sampled": Sampled(*ahead.responses, ahead.old_log_prob), "step": ahead.step},
    }
    blank = state._replace(ahead=Ahead.none(*SHAPE))
    with Checkpoints(str(tmp_path), "rl") as checkpoints:
        checkpoints.save(5, before, {})
        restored, _ = checkpoints.restore(like=blank.saved())
    assert_same(TrainState.restored(restored), state)


def test_shardings_are_those_of_the_state_without_making_it():
    layout, optimizer = Layout.of(), optax.adam(0.1)
    tree = {
        "language": {
            "layers": {"q": {"lora_a": jnp.ones((2, 4, 2)), "kernel": jnp.ones((2, 4, 4))}}
        }
    }
    trained, _ = partition(tree, ((".*/lora_a", "train"), (".*", "freeze")))
    trained = layout.place(trained)
    state = start(trained, optimizer, 0, layout, with_reference=True)
    found = shardings(trained, optimizer, layout, with_reference=True)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == found
