"""What ranking and advantages cost compared with the whole update, at the demo's sizes."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import demo
from orl_jax.models.params import partition
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vlm_settings import VlmSettings
from orl_jax.rl import rl_metrics
from orl_jax.rl.algorithms import make_algorithm
from orl_jax.rl.batch import Judgement, RolloutBatch
from orl_jax.rl.estimators import Estimator
from orl_jax.training.state import start

B, G, L, T, V = 64, 5, 36, 9, 91


def make_batch(width: int, visual_tokens: int) -> RolloutBatch:
    rng = np.random.default_rng(0)
    prompts = np.full((B, L), 7, np.int32)
    prompts[:, 2 : 2 + visual_tokens] = 4
    media = jnp.asarray(rng.normal(size=(B, visual_tokens, width)), jnp.float32)
    ids = jnp.asarray(rng.integers(5, V, (B, G, T)), jnp.int32)
    order = rng.permuted(np.tile(np.arange(G), (B, 1)), axis=1)
    return RolloutBatch(
        media,
        Prompt(jnp.asarray(prompts), jnp.ones((B, L), bool)),
        Responses(ids, jnp.ones((B, G, T), bool), jnp.full((B, G, T), -1.0)),
        Judgement(
            ranks=jnp.asarray(order, jnp.float32),
            scores=jnp.asarray(rng.normal(size=(B, G)), jnp.float32),
            valid=jnp.ones(B, bool),
        ),
    )


def seconds(function, *inputs) -> float:
    jax.block_until_ready(function(*inputs))
    spent = []
    for _ in range(15):
        begin = time.perf_counter()
        jax.block_until_ready(function(*inputs))
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent))


@pytest.mark.slow
def test_ranking_and_advantages_take_less_than_a_hundredth_of_the_update():
    config = demo.get_config()
    model = VlmSettings.from_config(config).build(vocabulary=V, image_id=4, lora=True)
    frames = jnp.zeros((1, 8, 64, 64, 3), jnp.uint8)
    batch = make_batch(config.model.language.width, config.model.adapter.queries)
    params = jax.jit(model.init)(
        jax.random.key(0), frames, jax.tree.map(lambda x: x[:1], batch.prompt)
    )["params"]
    trained, frozen = partition(params, config.rl.trainable)
    optimizer = optax.adam(1e-3)
    state = start(trained, optimizer, 0, with_reference=True)
    algorithm = make_algorithm(config, model, optimizer, adapter_trained=False, end_id=2)
    step = jax.jit(algorithm.step)
    update = seconds(step, state, frozen, jnp.zeros(V, bool), batch)

    def rank(old, batch):
        ranked = Estimator()(old, batch)
        return ranked, rl_metrics.of_ranks(ranked, batch.judgement)

    ranking = seconds(jax.jit(rank), batch.responses.log_prob, batch)
    print(f"\nranking {1e6 * ranking:.0f} µs, update {1e3 * update:.0f} ms: {ranking / update:.3%}")
    assert ranking < 0.01 * update
