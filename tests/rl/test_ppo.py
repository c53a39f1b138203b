"""The PPO step: its loss written out, what may influence it, which way it pushes."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_grpo_rank import LORA, B, G, T, judged, make_batch
from tiny_model import BANNED, END, Prompts, make_params, make_vlm, normal, plain_hidden

from orl_jax.models.params import combine, partition, policy_of
from orl_jax.models.sharding.layout import Layout
from orl_jax.rl.algorithms import with_value_model
from orl_jax.rl.ppo import Ppo, PpoSettings, explained
from orl_jax.rl.scorer import Scorer
from orl_jax.training.optimizer import OptimizerSettings, make_optimizer
from orl_jax.training.state import FINITE, start

SETTINGS = {
    "clip_low": 0.2, "clip_high": 0.2, "entropy_coefficient": 0.05, "updates_per_rollout": 1,
    "minibatches": 1, "gamma": 0.9, "lam": 0.8, "value_clip": 0.2, "value_coefficient": 0.5,
    "kl_reward": 0.1, "truncated_reward": -1.0,
}  # fmt: skip
SGD = optax.sgd(0.1)


def make_step(optimizer=SGD, micro_batch=2, **changes):
    scorer = Scorer(make_vlm(), 0.7, 5, micro_batch)
    return jax.jit(Ppo(scorer, optimizer, PpoSettings(**(SETTINGS | changes)), END).step)


@pytest.fixture(scope="module")
def step():
    """The compiled step: one update on the whole batch, under SGD."""
    return make_step()


def make_state(optimizer=SGD):
    """The state before the first step, its value model and its reference moved a little."""
    policy, frozen = partition(jax.tree.map(jnp.copy, make_params()), LORA)
    trained = with_value_model(policy, 8, Layout.of())
    moved = jax.tree.map(lambda x: x + 0.1 * normal(*x.shape, seed=4), trained["value"])
    state = start({**trained, "value": moved}, optimizer, seed=0, with_reference=True)
    drift = jax.tree.map(lambda x: x + 0.1 * normal(*x.shape, seed=9), state.reference)
    return state._replace(reference=drift), frozen


def by_hand(params, batch):
    """Log-probabilities and entropies [B, G, T] from full rows, and the hidden states."""
    hidden = plain_hidden(make_vlm(), params, Prompts(batch.media, batch.prompt), batch.responses)
    logits = jnp.where(BANNED, -1e9, hidden @ params["language"]["lm_head"] / 0.7)
    table = jax.nn.log_softmax(logits)
    log_prob = jnp.take_along_axis(table, batch.responses.ids[..., None], axis=-1)[..., 0]
    return np.asarray(log_prob), -(np.exp(table) * np.asarray(table)).sum(-1), hidden


@lru_cache
def expected_loss():
    """The first update's loss in numpy loops, token by token."""
    state, frozen = make_state()
    batch = make_batch()
    old, entropy, _ = by_hand(combine(frozen, policy_of(state.trained)), batch)
    ref, _, _ = by_hand(combine(frozen, state.reference), batch)
    value = {name: tree for name, tree in state.trained["value"].items() if name != "head"}
    _, _, hidden = by_hand(combine(frozen, value), batch)
    head = state.trained["value"]["head"]
    values = np.asarray(hidden @ head["kernel"] + head["bias"])
    kept = np.asarray(batch.kept())
    advantages, returns = np.zeros((B, G, T)), np.zeros((B, G, T))
    for row, column in np.ndindex(B, G):
        length = int(kept[row, column].sum())
        later, next_value = 0.0, 0.0
        for t in reversed(range(length)):
            reward = -0.1 * (old - ref)[row, column, t]
            if t == length - 1:
                ended = int(batch.responses.ids[row, column, t]) == END
                reward += float(batch.judgement.scores[row, column]) + (0 if ended else -1.0)
            delta = reward + 0.9 * next_value - values[row, column, t]
            later, next_value = delta + 0.9 * 0.8 * later, values[row, column, t]
            advantages[row, column, t] = later
            returns[row, column, t] = later + next_value
    white = (advantages - advantages[kept].mean()) / advantages[kept].std()
    policy = -white[kept].mean()  # the ratio is 1
    value_loss = ((values - returns)[kept] ** 2).mean() / 2
    return policy + 0.5 * value_loss - 0.05 * entropy[kept].mean(), value_loss


def test_the_loss_is_the_one_written_out(step):
    state, frozen = make_state()
    _, metrics, _ = step(state, frozen, BANNED, make_batch())
    loss, value_loss = expected_loss()
    assert float(metrics["value/loss"]) == pytest.approx(value_loss, rel=1e-4)
    assert float(metrics["loss"]) == pytest.approx(loss, abs=1e-4)
    assert float(metrics["ratio/mean"]) == pytest.approx(1, abs=1e-5)


def test_policy_value_and_head_are_trained_and_the_reference_is_not(step):
    state, frozen = make_state()
    after, _, ranked = step(state, frozen, BANNED, make_batch())
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.trained, after.trained)
    assert all(jax.tree.leaves(moved["value"]["head"]))
    assert any(jax.tree.leaves(moved["value"]["language"]))
    assert any(jax.tree.leaves(moved["language"]))
    jax.tree.map(np.testing.assert_array_equal, state.reference, after.reference)
    assert "value" not in state.reference
    assert int(after.step) == 1 and ranked.advantages.shape == (B, G)


def test_invalid_groups_have_no_influence(step):
    state, frozen = make_state()
    batch = make_batch()
    scores = batch.judgement.scores.at[1].set(jnp.array([-7.0, 0.0, 3.0]))
    changed = judged(batch, scores=scores)._replace(media=batch.media.at[1].add(1.0))
    (after, metrics, _), (other, other_metrics, _) = (
        step(state, frozen, BANNED, value) for value in (batch, changed)
    )
    jax.tree.map(np.testing.assert_array_equal, after.trained, other.trained)
    assert metrics["loss"] == other_metrics["loss"]
    valid = judged(changed, valid=jnp.ones(B, bool))
    assert step(state, frozen, BANNED, valid)[1]["loss"] != metrics["loss"]


def test_passes_and_minibatches_update_several_times():
    optimizer = make_optimizer(OptimizerSettings(0.01), optax.constant_schedule(0.01))
    step = make_step(optimizer, updates_per_rollout=2, minibatches=2)
    state, frozen = make_state(optimizer)
    after, metrics, _ = step(state, frozen, BANNED, make_batch())
    found = optax.tree.get_all_with_path(after.opt_state, "count")
    counts = [int(count) for _, count in found]
    assert set(counts) == {4}
    assert abs(float(metrics["ratio/mean"]) - 1) > 1e-5


def test_gradients_of_micro_batches_add_up():
    class Watched(Ppo):
        """Notes how many prompts its loss has at a time."""

        def _loss(self, denominator, trained, frozen, banned, batch, constants):
            sizes.add(len(batch.prompt.ids))
            return super()._loss(denominator, trained, frozen, banned, batch, constants)

    found = {}
    for micro_batch in (0, 1):
        sizes = set()
        scorer = Scorer(make_vlm(), 0.7, 5, micro_batch)
        step = jax.jit(Watched(scorer, SGD, PpoSettings(**SETTINGS), END).step)
        state, frozen = make_state()
        found[micro_batch] = step(state, frozen, BANNED, make_batch())[:2]
        assert sizes == {micro_batch or B}
    (whole, metrics), (parts, summed) = found.values()
    compare = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(compare, parts.trained, whole.trained)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), summed, metrics)


def test_scores_lift_what_they_prefer():
    optimizer = make_optimizer(OptimizerSettings(0.02), optax.constant_schedule(0.02))
    step = make_step(optimizer, kl_reward=0.0, entropy_coefficient=0.0, truncated_reward=0.0)
    state, frozen = make_state(optimizer)
    batch = make_batch(valid=jnp.ones(B, bool), scores=jnp.tile(jnp.array([1.0, 0, -1]), (B, 1)))
    history = []
    for _ in range(6):
        state, metrics, ranked = step(state, frozen, BANNED, batch)
        history.append(ranked.log_probs.mean(axis=0))
    assert history[-1][0] > history[0][0] + 0.3
    assert history[-1][2] < history[0][2] - 0.3


def test_a_score_that_is_not_finite_changes_nothing(step):
    state, frozen = make_state()
    scores = make_batch().judgement.scores.at[0, 0].set(jnp.nan)
    after, metrics, _ = step(state, frozen, BANNED, make_batch(scores=scores))
    assert not metrics[FINITE]
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_explained_share_of_the_returns():
    returns, mask = normal(2, 2, 3), jnp.ones((2, 2, 3), bool).at[0, 0, 2].set(False)
    assert float(explained(returns, returns, mask)) == pytest.approx(1)
    assert float(explained(jnp.zeros_like(returns), returns, mask)) == pytest.approx(0, abs=1e-5)
    assert float(explained(returns, jnp.ones_like(returns), mask)) == 0
