"""The jitted step: its loss and gradient, what may influence it, which way it pushes."""

import dataclasses
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import unflatten_dict
from tiny_model import (
    BANNED,
    FRAMES,
    Prompts,
    make_params,
    make_prompts,
    make_responses,
    make_vlm,
    normal,
    plain_hidden,
)

from configs import demo
from orl_jax.models.params import combine, flatten, partition
from orl_jax.models.vlm import VLM
from orl_jax.ops.advantages import rank_advantages, rank_penalties
from orl_jax.ops.direct_losses import list_dpo_loss
from orl_jax.ops.ranking import ranks
from orl_jax.ops.truncation import Truncation
from orl_jax.rl.algorithms import make_algorithm
from orl_jax.rl.batch import Judgement, RolloutBatch
from orl_jax.rl.direct import DirectLoss
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.grpo_rank import GrpoRank
from orl_jax.rl.minibatches import minibatch_order, pass_keys
from orl_jax.rl.policy_loss import PolicyLossSettings
from orl_jax.rl.ppo import PpoSettings
from orl_jax.rl.scorer import Scorer
from orl_jax.run.errors import UserError
from orl_jax.training.optimizer import OptimizerSettings, make_optimizer
from orl_jax.training.state import FINITE, start

B, G, T = 4, 3, 4
LORA = ((".*/lora_[ab]", "train"), (".*", "freeze"))
LOSS = PolicyLossSettings(
    clip_low=0.2, clip_high=0.2, kl_coefficient=0.1, kl_estimator="k3", entropy_coefficient=0.05,
    normalisation="token",
)  # fmt: skip
SIGNED = Estimator(form="signed", mix=0.25, discount="log2")
RATE = 0.1
SGD = optax.sgd(RATE)  # a step is then the gradient, times the rate
ADAM = make_optimizer(OptimizerSettings(0.02), optax.constant_schedule(0.02))


def make_step(
    optimizer=SGD,
    donate=(),
    estimator=SIGNED,
    updates=1,
    loss=LOSS,
    direct=None,
    minibatches=1,
    **scorer,
):
    given = {"temperature": 0.7, "micro_batch": 2, "vocabulary_chunk": 5} | scorer
    algorithm = GrpoRank(
        Scorer(make_vlm(), **given), estimator, optimizer, loss, updates, direct, minibatches
    )
    return jax.jit(algorithm.step, donate_argnums=donate)


@pytest.fixture(scope="module")
def step():
    """The compiled step in micro-batches of two groups, under SGD."""
    return make_step()


def make_state(optimizer=SGD, rules=LORA, drift=0.0):
    """The state before the first step and the frozen parameters; the reference may differ."""
    trained, frozen = partition(jax.tree.map(jnp.copy, make_params()), rules)
    state = start(trained, optimizer, seed=0, with_reference=True)
    moved = jax.tree.map(lambda x: x + drift * normal(*x.shape, seed=9), state.reference)
    return state._replace(reference=moved), frozen


def make_batch(**changes):
    """Four groups of three; that of the second prompt has no valid ranking.

    `changes` are of the judgement.
    """
    judgement = Judgement(
        ranks=jnp.array([[2.0, 0, 1], [0, 1, 2], [1, 2, 0], [0.5, 2, 0.5]]),
        scores=jnp.array([[0.0, 1, 0.5], [1, 0, 0], [0.5, 0, 1], [0.2, 0, 0.2]]),
        valid=jnp.array([True, False, True, True]),
    )
    responses = make_responses(B, G, T)._replace(log_prob=jnp.full((B, G, T), -1.0))
    return judged(RolloutBatch(*make_prompts(B), responses, judgement), **changes)


def judged(batch, **changes):
    """The batch with another judgement."""
    return batch._replace(judgement=batch.judgement._replace(**changes))


def log_softmax_by_hand(params, batch):
    """[B, G, T, V] from full rows, without a cache, at the temperature 0.7."""
    hidden = plain_hidden(make_vlm(), params, Prompts(batch.media, batch.prompt), batch.responses)
    logits = hidden @ params["language"]["lm_head"] / 0.7
    return jax.nn.log_softmax(jnp.where(BANNED, -1e9, logits))


@jax.jit
def log_probs_by_hand(params, batch):
    table = log_softmax_by_hand(params, batch)
    return jnp.take_along_axis(table, batch.responses.ids[..., None], axis=-1)[..., 0]


@jax.jit
def loss_by_hand(trained, frozen, batch, advantages, old, reference):
    """The loss of the whole batch, written out."""
    table = log_softmax_by_hand(combine(frozen, trained), batch)
    log_prob = jnp.take_along_axis(table, batch.responses.ids[..., None], axis=-1)[..., 0]
    advantages = jnp.broadcast_to(advantages[..., None], log_prob.shape)
    policy = -jnp.exp(log_prob - old) * advantages  # near ratio 1 nothing is clipped
    kl = jnp.exp(reference - log_prob) - 1 - (reference - log_prob)
    entropy = -(jnp.exp(table) * table).sum(axis=-1)
    kept = batch.responses.mask & batch.judgement.valid[:, None, None]
    return jnp.where(kept, policy + 0.1 * kl - 0.05 * entropy, 0).sum() / kept.sum()


@lru_cache
def constants():
    """State (its reference differs), frozen parameters, batch, and the constants of its loss."""
    state, frozen = make_state(drift=0.1)
    batch = make_batch()
    old = log_probs_by_hand(combine(frozen, state.trained), batch)
    reference = log_probs_by_hand(combine(frozen, state.reference), batch)
    predicted = ranks(jnp.where(batch.responses.mask, old, 0.0).sum(axis=-1))
    advantages = rank_advantages(batch.judgement.ranks, predicted, mix=0.25)
    return state, frozen, batch, predicted, (advantages, old, reference)


def test_what_is_made_of_each_response(step):
    state, frozen, batch, predicted, (advantages, old, _) = constants()
    _, _, ranked = step(state, frozen, BANNED, batch)
    total = jnp.where(batch.responses.mask, old, 0.0).sum(axis=-1)
    np.testing.assert_allclose(ranked.log_probs, total, rtol=1e-5)
    np.testing.assert_array_equal(ranked.predicted_ranks, predicted)
    np.testing.assert_allclose(ranked.advantages, advantages, atol=1e-6)
    penalties = rank_penalties(batch.judgement.ranks, predicted)
    np.testing.assert_allclose(ranked.penalties, penalties, atol=1e-6)


@pytest.mark.parametrize("kl", ["k3", "exact"])
def test_the_order_of_the_ratio_to_the_reference(kl):
    state, frozen, batch, _, (_, old, reference) = constants()
    loss = dataclasses.replace(LOSS, kl_estimator=kl)
    estimator = Estimator(mix=0.5, predicted="ratio")
    _, _, ranked = make_step(estimator=estimator, loss=loss)(state, frozen, BANNED, batch)
    predicted = ranks(jnp.where(batch.responses.mask, old - reference, 0.0).sum(axis=-1))
    np.testing.assert_array_equal(ranked.predicted_ranks, predicted)
    expected = rank_advantages(batch.judgement.ranks, predicted, mix=0.5)
    np.testing.assert_allclose(ranked.advantages, expected, atol=1e-6)


NO_KL = dataclasses.replace(LOSS, kl_coefficient=0.0, entropy_coefficient=0.0)


def test_a_loss_of_the_order_in_place_of_advantages():
    """In micro-batches, the loss is the mean over the three groups with an order."""
    state, frozen, batch, _, (_, old, reference) = constants()
    ranks_of = batch.judgement.ranks
    sums = jnp.where(batch.responses.mask, old - reference, 0.0).sum(axis=-1)
    valid = batch.judgement.valid
    expected, slope = jax.value_and_grad(
        lambda x: (valid * list_dpo_loss(x, ranks_of, 0.5)).sum() / valid.sum()
    )(sums)
    for kept in (valid, valid.at[0].set(False)):  # another count of groups
        batch = judged(batch, valid=kept)
        step = make_step(loss=NO_KL, direct=DirectLoss("list_dpo", 0.5))
        after, metrics, ranked = step(state, frozen, BANNED, batch)
        losses = list_dpo_loss(sums, ranks_of, 0.5)[kept]
        assert float(metrics["policy_loss"]) == pytest.approx(float(losses.mean()), abs=1e-5)
        assert float(metrics["loss"]) == float(metrics["policy_loss"])
        assert float(metrics["kl"]) > 0  # the reference is read, so its distance is logged
    np.testing.assert_allclose(ranked.advantages[2:], -slope[2:] * valid.sum(), atol=1e-5)
    assert float(metrics["advantage/oracle_correlation"]) > 0.5
    assert_moves_towards(state, after, frozen, batch)


def assert_moves_towards(state, after, frozen, batch):
    """The update raises the responses that the Oracle prefers over the others."""
    before, now = (
        jnp.where(
            batch.responses.mask, log_probs_by_hand(combine(frozen, s.trained), batch), 0.0
        ).sum(axis=-1)
        for s in (state, after)
    )
    moved = np.asarray(now - before)[2:]
    order = np.asarray(batch.judgement.ranks)[2:]
    assert (moved[order == order.min()].mean() > moved[order == order.max()].mean()).all()


def test_without_a_kl_the_reference_is_not_scored():
    state, frozen, batch, _, (advantages, old, _) = constants()
    absent = state._replace(reference=jax.tree.map(lambda x: x * jnp.nan, state.reference))
    step = make_step(loss=NO_KL)
    after, metrics, _ = step(absent, frozen, BANNED, batch)
    assert "kl" not in metrics
    kept = batch.responses.mask & batch.judgement.valid[:, None, None]
    expected = -jnp.where(kept, advantages[..., None], 0).sum() / kept.sum()
    assert float(metrics["loss"]) == pytest.approx(float(expected), abs=1e-6)
    k1 = dataclasses.replace(NO_KL, kl_estimator="k1")  # is there to be logged
    assert not np.isfinite(make_step(loss=k1)(absent, frozen, BANNED, batch)[1]["kl"])


def test_gradient_of_the_whole_loss_by_finite_differences(step):
    state, frozen, batch, _, rest = constants()
    after, metrics, _ = step(state, frozen, BANNED, batch)
    loss = float(loss_by_hand(state.trained, frozen, batch, *rest))
    assert float(metrics["loss"]) == pytest.approx(loss, abs=1e-5)
    difference = jax.tree.map(lambda a, b: np.asarray(a - b), state.trained, after.trained)
    gradient = {path: value / RATE for path, value in flatten(difference).items()}
    norm = np.sqrt(sum((value**2).sum() for value in gradient.values()))
    assert float(metrics["grad_norm"]) == pytest.approx(norm, rel=1e-3)
    for name in ("q/lora_a", "v/lora_b", "o/lora_a", "gate/lora_b", "down/lora_a"):
        path = f"language/layers/{name}"
        place = np.unravel_index(np.abs(gradient[path]).argmax(), gradient[path].shape)

        def moved(distance, path=path, place=place):
            flat = flatten(state.trained)
            flat |= {path: flat[path].at[place].add(distance)}
            return float(loss_by_hand(unflatten_dict(flat, sep="/"), frozen, batch, *rest))

        slope = (moved(0.01) - moved(-0.01)) / 0.02
        assert abs(slope) > 1e-3
        assert gradient[path][place] == pytest.approx(slope, rel=2e-2, abs=1e-4), path


def test_gradients_of_micro_batches_add_up_and_a_trained_adapter_learns_too(step):
    state, frozen, batch, *_ = constants()
    features = normal(B, FRAMES, 4, 8)
    adapt = jax.jit(partial(make_vlm().apply, method=VLM.adapt))
    batch = batch._replace(media=adapt({"params": make_params()}, features))
    expected, metrics, _ = step(state, frozen, BANNED, batch)
    rules = ((".*/lora_[ab]", "train"), ("adapter/.*", "train"), (".*", "freeze"))
    with_adapter, frozen = make_state(rules=rules)
    reference = combine(with_adapter.reference, state.reference)
    with_adapter = with_adapter._replace(reference=reference)
    whole = make_step(micro_batch=0, vocabulary_chunk=0, adapter_trained=True)
    after, whole_metrics, _ = whole(with_adapter, frozen, BANNED, batch._replace(media=features))
    for path, value in flatten(expected.trained).items():
        np.testing.assert_allclose(flatten(after.trained)[path], value, atol=1e-5, err_msg=path)
    for name in metrics.keys() - {"grad_norm"}:
        assert float(metrics[name]) == pytest.approx(float(whole_metrics[name]), abs=1e-5), name
    before, after = flatten(with_adapter.trained), flatten(after.trained)
    moved = [jnp.abs(after[path] - before[path]).max() for path in before if "adapter" in path]
    # a bias of keys shifts all scores of a query alike, so its gradient is zero
    assert np.mean(np.array(moved) > 1e-6) > 0.9


def test_minibatches_are_updates_one_after_the_other(step):
    """Two passes of two minibatches are four updates on two prompts each."""
    state, frozen, batch, _, (_, old, _) = constants()
    batch = judged(batch, valid=jnp.ones(B, bool))
    whole = make_step(updates=2, minibatches=2, micro_batch=1)
    after, metrics, ranked = whole(state, frozen, BANNED, batch)
    once = make_step(micro_batch=1)
    expected, ratios = state, []
    for key in pass_keys(state, 2):
        order = minibatch_order(key, batch)
        for part in range(2):
            some = jax.tree.map(lambda x: x[order[part::2]], batch._replace(old_log_prob=old))  # noqa: B023
            expected, found, _ = once(expected, frozen, BANNED, some)
            ratios.append(float(found["ratio/max"]))
    for path, value in flatten(expected.trained).items():
        np.testing.assert_allclose(flatten(after.trained)[path], value, atol=1e-5, err_msg=path)
    assert float(metrics["ratio/max"]) == pytest.approx(max(ratios[2:]), abs=1e-4)
    one = step(state, frozen, BANNED, batch)[2]  # in the order of the batch, as in one update
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), ranked, one)
    assert int(after.step) == int(state.step) + 1


def test_responses_that_do_not_count_are_in_no_sum(step):
    state, frozen, batch, *_ = constants()
    counted = jnp.ones((B, G), bool).at[0, 1].set(False).at[3].set(False)
    after, metrics, ranked = step(state, frozen, BANNED, batch._replace(counted=counted))
    kept = (batch.responses.mask & counted[..., None]) & batch.judgement.valid[:, None, None]
    masked = batch._replace(responses=batch.responses._replace(mask=kept))
    expected, other, _ = step(state, frozen, BANNED, masked)
    assert float(metrics["kl"]) == pytest.approx(float(other["kl"]), abs=1e-6)
    whole = step(state, frozen, BANNED, batch)[2]
    np.testing.assert_array_equal(ranked.advantages, whole.advantages)  # paid like all
    assert float(metrics["kl"]) != pytest.approx(
        float(step(state, frozen, BANNED, batch)[1]["kl"]), abs=1e-6
    )


def test_invalid_groups_have_no_influence(step):
    state, frozen = make_state(drift=0.1)
    batch = make_batch()
    other = make_responses(B, G, T, seed=5)
    assert (other.mask != batch.responses.mask)[1].any()
    changed = batch._replace(
        media=batch.media.at[1].add(1.0),
        responses=batch.responses._replace(
            ids=batch.responses.ids.at[1].set(other.ids[1]),
            mask=batch.responses.mask.at[1].set(other.mask[1]),
        ),
        judgement=batch.judgement._replace(
            ranks=batch.judgement.ranks.at[1].set(jnp.array([2.0, 1.0, 0.0])),
            scores=batch.judgement.scores.at[1].set(jnp.array([-7.0, 0.0, 3.0])),
        ),
    )
    (after, metrics, ranked), (other_after, other_metrics, other_ranked) = (
        step(state, frozen, BANNED, value) for value in (batch, changed)
    )
    jax.tree.map(np.testing.assert_array_equal, after, other_after)
    for name in metrics:
        if not name.startswith("sampler/"):
            assert metrics[name] == other_metrics[name], name
    assert (ranked.log_probs != other_ranked.log_probs)[1].all()
    # while the same change to a valid group does have one
    _, metrics, _ = step(state, frozen, BANNED, judged(batch, valid=jnp.ones(B, bool)))
    _, other_metrics, _ = step(state, frozen, BANNED, judged(changed, valid=jnp.ones(B, bool)))
    assert metrics["loss"] != other_metrics["loss"]


def test_without_any_valid_ranking_nothing_is_learnt(step):
    state, frozen = make_state(drift=0.1)
    after, metrics, _ = step(state, frozen, BANNED, make_batch(valid=jnp.zeros(B, bool)))
    jax.tree.map(np.testing.assert_array_equal, after.trained, state.trained)
    assert int(after.step) == 1
    sampler_gaps = ("sampler/logprob_gap_mean", "sampler/logprob_gap_max")
    for name in metrics.keys() - {*sampler_gaps, FINITE}:
        assert float(metrics[name]) == 0.0, name


def test_a_loss_that_is_not_finite_changes_nothing(step):
    state, frozen = make_state(drift=0.1)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, frozen)
    after, metrics, _ = step(state, broken, BANNED, make_batch())
    assert not metrics[FINITE]
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert step(state, frozen, BANNED, make_batch())[1][FINITE]


def test_kl_is_zero_at_the_start_and_grows(step):
    state, frozen = make_state()
    reference = jax.tree.map(np.asarray, state.reference)
    state, metrics, _ = step(state, frozen, BANNED, make_batch())
    assert float(metrics["kl"]) == pytest.approx(0, abs=1e-7)
    assert float(metrics["ratio/mean"]) == pytest.approx(1, abs=1e-5)
    assert float(metrics["ratio/max"]) == pytest.approx(1, abs=1e-5)
    assert float(metrics["clip/low_fraction"]) == float(metrics["clip/high_fraction"]) == 0
    state, metrics, _ = step(state, frozen, BANNED, make_batch())
    assert float(metrics["kl"]) > 1e-4
    assert float(metrics["ratio/mean"]) == pytest.approx(1, abs=1e-5)  # old is the current policy
    jax.tree.map(np.testing.assert_array_equal, state.reference, reference)


def test_metrics_have_their_names(step):
    state, frozen = make_state()
    _, metrics, _ = step(state, frozen, BANNED, make_batch())
    assert set(metrics) == {
        "loss", "policy_loss", "kl", "entropy", "grad_norm", "ratio/mean", "ratio/max",
        "clip/low_fraction", "clip/high_fraction", "advantage/abs_mean", "advantage/max",
        "advantage/min", "advantage/oracle_correlation", "advantage/length_correlation",
        "oracle/length_correlation", "penalty/mean", "penalty/max",
        "rank/kendall_tau", "rank/ndcg", "rank/tie_fraction", "group/no_signal_fraction",
        "sampler/logprob_gap_mean", "sampler/logprob_gap_max", FINITE,
    }  # fmt: skip


def opposed(step, state, frozen):
    """A batch of valid groups that the Oracle orders just the other way from the policy."""
    batch = make_batch(valid=jnp.ones(B, bool))
    _, _, ranked = step(jax.tree.map(jnp.copy, state), frozen, BANNED, batch)
    return judged(batch, ranks=G - 1 - ranked.predicted_ranks)


def trace(step, state, frozen, batch, steps):
    """The last state; by step metrics, mean log-probabilities of the Oracle's best and worst."""
    history, best, worst = [], [], []
    with jax.transfer_guard("disallow"):
        for _ in range(steps):
            state, metrics, ranked = step(state, frozen, BANNED, batch)
            history.append(metrics)
            log_probs, order = jax.device_get((ranked.log_probs, batch.judgement.ranks))
            best.append(log_probs[order == 0].mean())
            worst.append(log_probs[order == G - 1].mean())
    return state, history, best, worst


def test_the_signed_form_lifts_the_best_and_sinks_the_worst(step):
    state, frozen = make_state()
    batch = opposed(step, state, frozen)
    _, history, best, worst = trace(step, state, frozen, batch, 5)
    assert best[-1] > best[0] + 0.5
    assert worst[-1] < worst[0] - 0.5
    assert all(metrics["advantage/oracle_correlation"] > 0.9 for metrics in history)


def test_the_printed_form_pushes_the_other_way_and_compiles_once():
    # Two updates per rollout under the real optimiser, donated, as the stage runs it.
    printed = Estimator(form="printed", discount="printed")
    step = make_step(ADAM, donate=0, estimator=printed, updates=2, micro_batch=0)
    state, frozen = make_state(ADAM)
    batch = opposed(step, state, frozen)
    state, history, best, worst = trace(step, state, frozen, batch, 3)
    assert step._cache_size() == 1
    assert int(state.step) == 3
    assert best[-1] < best[0] - 0.1
    assert worst[-1] > worst[0] + 0.1
    assert all(metrics["advantage/oracle_correlation"] < -0.9 for metrics in history)
    assert all(abs(metrics["ratio/mean"] - 1) > 1e-4 for metrics in history)  # second update


def test_settings_are_those_of_the_config():
    config = demo.get_config().unlock()
    config.model.vocabulary_chunk = 7
    config.rl.update(
        clip_dual=3.0, importance_cap=2.0, minibatches=4,
        temperature=0.9, micro_batch=8, clip_low=0.1, clip_high=0.3, kl_coefficient=0.5,
        kl_estimator="exact", entropy_coefficient=0.25, normalisation="constant",
        updates_per_rollout=2, top_k=20, top_p=0.9, min_p=0.1,
    )  # fmt: skip
    config.rl.advantage.update(form="printed", mix=0.75, discount="product", predicted="mean")
    model, given = make_vlm(), {"adapter_trained": True, "end_id": 2}
    assert make_algorithm(config, model, SGD, **given) == GrpoRank(
        Scorer(
            model,
            0.9,
            vocabulary_chunk=7,
            micro_batch=8,
            adapter_trained=True,
            truncation=Truncation(20, 0.9, 0.1),
        ),
        Estimator("grpo_rank", "printed", mix=0.75, discount="product", predicted="mean"),
        SGD,
        PolicyLossSettings(0.1, 0.3, 0.5, "exact", 0.25, "constant", 3.0, 2.0),
        updates_per_rollout=2,
        minibatches=4,
    )
    config.rl.algorithm = "grpo"
    assert make_algorithm(config, model, SGD, **given).estimator.form == "standardised"
    config.rl.algorithm = "ppo"
    ppo = make_algorithm(config, model, SGD, **given)
    expected = PpoSettings(0.1, 0.3, 0.25, 2, 2, 1.0, 1.0, 0.2, 0.1, 0.1, 0.0)
    assert (ppo.settings, ppo.end_id, ppo.scorer.temperature) == (expected, 2, 0.9)


def test_keys_of_steps_differ():
    state, _ = make_state()
    other = start(state.trained, SGD, seed=1)
    keys = [state.step_key(), state._replace(step=jnp.asarray(1, jnp.int32)).step_key()]
    keys.append(other.step_key())
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 3
    assert other.reference == {}


def test_k1_is_logged_but_is_no_loss():
    assert PolicyLossSettings(kl_estimator="k1", kl_coefficient=0.0).kl_estimator == "k1"
    with pytest.raises(UserError, match="expected gradient is 0: choose k3, k2 or exact"):
        PolicyLossSettings(kl_estimator="k1", kl_coefficient=0.02)
