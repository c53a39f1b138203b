"""Losses of an order: by hand, ties, what they leave out, and TRL's online DPO."""

import math
import types
from collections import defaultdict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.ops.direct_losses import (
    best_of_loss,
    best_worst_dpo_loss,
    dpo_loss,
    has_order,
    lipo_loss,
    list_dpo_loss,
)

LOSSES = (dpo_loss, best_worst_dpo_loss, list_dpo_loss, lipo_loss, best_of_loss)
MARGINS, RANKS = jnp.array([2.0, -1.0, 0.5]), jnp.array([1.0, 0.0, 2.0])


def softplus(x):
    return math.log1p(math.exp(x))


def by_hand(loss, expected, margins=MARGINS, ranks=RANKS):
    for function in (loss, jax.jit(loss)):
        assert float(function(margins, ranks)) == pytest.approx(expected, abs=1e-6)
        many = function(jnp.stack([margins, margins]), jnp.stack([ranks, ranks]))
        np.testing.assert_allclose(many, [expected] * 2, atol=1e-6)


def test_dpo_by_hand():
    # pairs (better, worse): (1, 0) with the difference -3, (1, 2) with -1.5, (0, 2) with 1.5
    expected = (softplus(1.5) + softplus(0.75) + softplus(-0.75)) / 3
    by_hand(partial(dpo_loss, beta=0.5), expected)
    by_hand(partial(best_worst_dpo_loss, beta=0.5), softplus(0.75))
    # 0 and 1 tied first: pairs (0, 2) and (1, 2)
    tied = jnp.array([0.5, 0.5, 2.0])
    for loss in (dpo_loss, best_worst_dpo_loss):
        expected = (softplus(-0.75) + softplus(0.75)) / 2
        by_hand(partial(loss, beta=0.5), expected, ranks=tied)


def test_list_dpo_by_hand():
    # beta 1, weights e^2, e^-1, e^0.5: the second first, then the first against the third
    weights = np.exp(np.asarray(MARGINS, np.float64))
    expected = -(math.log(weights[1] / weights.sum()) + math.log(weights[0] / weights[::2].sum()))
    by_hand(partial(list_dpo_loss, beta=1.0), expected / 2)


def test_lipo_by_hand():
    # s = 2, -1, 0.5: places 1, 3, 2; labels 2^0.5, 2^1, 2^0
    places = [1 / math.log(2), 1 / math.log(4), 1 / math.log(3)]
    expected = (
        (2 - math.sqrt(2)) * (places[0] - places[1]) * softplus(3)
        + (2 - 1) * (places[2] - places[1]) * softplus(1.5)
        + (math.sqrt(2) - 1) * (places[0] - places[2]) * softplus(-1.5)
    ) / 3
    by_hand(partial(lipo_loss, beta=1.0), expected)
    by_hand(lipo_loss, 0.369070, jnp.zeros(2), jnp.array([0.0, 1.0]))


def test_best_of_by_hand():
    # hinges 3 of (1, 0), 1.5 of (1, 2), none of (0, 2); the best one is taught: + 1
    by_hand(best_of_loss, 3 + 1.5 + 1)
    # 0 and 1 tied first: the hinge 1.5 of (1, 2); taught the mean (2 - 1) / 2
    by_hand(best_of_loss, 1.5 - 0.5, ranks=jnp.array([0.5, 0.5, 2.0]))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_group_without_an_order_trains_nothing(loss):
    ranks = jnp.stack([RANKS, jnp.ones(3)])
    margins = jnp.stack([MARGINS, MARGINS])
    np.testing.assert_array_equal(has_order(ranks), [True, False])
    assert float(loss(margins, ranks)[1]) == 0
    grads = jax.grad(lambda values: loss(values, ranks).sum())(margins)
    np.testing.assert_array_equal(grads[1], 0)
    assert np.isfinite(grads).all() and np.abs(grads[0]).max() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_descent_puts_responses_into_the_order_of_the_oracle(loss):
    rng = np.random.default_rng(0)
    ranks = jnp.array(np.argsort(rng.normal(size=(6, 4)), axis=-1), jnp.float32)
    margins = jnp.array(rng.normal(size=(6, 4)), jnp.float32)
    scale = 1.0 if loss is best_of_loss else 10.0  # beta is 0.1
    step = jax.jit(lambda m: m - jax.grad(lambda x: loss(scale * x, ranks).sum())(m))
    for _ in range(200):
        margins = step(margins)
    order = jnp.argsort(jnp.argsort(-margins, axis=-1), axis=-1)
    if loss is best_worst_dpo_loss:  # says nothing about the middle
        best, worst = (np.argmax(margins, axis=-1), np.argmin(margins, axis=-1))
        np.testing.assert_array_equal(best, np.argmin(ranks, axis=-1))
        np.testing.assert_array_equal(worst, np.argmax(ranks, axis=-1))
    else:
        np.testing.assert_array_equal(order, ranks)


@pytest.mark.parametrize("loss", [dpo_loss, best_worst_dpo_loss, list_dpo_loss, lipo_loss])
def test_losses_of_margins_are_zero_sum_in_their_gradient(loss):
    grads = jax.grad(loss)(MARGINS, RANKS)
    assert float(grads.sum()) == pytest.approx(0, abs=1e-6)


def test_dpo_of_two_responses_is_that_of_trl():
    torch = pytest.importorskip("torch", reason="parity: pip install -e .[torch]")
    where = "trl.experimental.online_dpo.online_dpo_trainer"
    trainer = pytest.importorskip(where, reason="parity: pip install -e .[peers]").OnlineDPOTrainer
    rng, size, tokens, beta = np.random.default_rng(3), 5, 7, 0.3
    log_prob, reference = -rng.exponential(size=(2, 2, size, tokens)).astype(np.float32)
    mask = np.arange(tokens) < rng.integers(1, tokens + 1, (2, size, 1))
    rewards = rng.normal(size=(2, size)).astype(np.float32)

    expected, slope = loss_of_trl(torch, trainer, beta, log_prob, reference, mask, rewards)

    def ours(log_prob):
        margins = jnp.where(mask, log_prob - reference, 0.0).sum(axis=-1).T
        ranks = jnp.array(rewards < rewards[::-1], jnp.float32).T
        return dpo_loss(margins, ranks, beta).mean()

    value, grads = jax.value_and_grad(ours)(jnp.array(log_prob))
    assert float(value) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(grads, slope, atol=1e-6)


def loss_of_trl(torch, trainer, beta, log_prob, reference, mask, rewards):
    """The loss that `OnlineDPOTrainer.training_step` sends backward, and its gradient.

    Arrays are [2, prompts, tokens]; the trainer has both halves below each other.
    """
    logits = torch.tensor(log_prob.reshape(-1, log_prob.shape[-1]), requires_grad=True)
    passes = iter([logits, torch.tensor(reference.reshape(logits.shape))])
    said = []
    size = rewards.shape[1]
    ids = torch.ones((2 * size, mask.shape[-1]), dtype=torch.long)
    itself = types.SimpleNamespace(
        beta=beta, ref_model=object(), reward_funcs=["given"], eos_token_ids=[1],
        args=types.SimpleNamespace(
            use_vllm=False, loss_type="sigmoid", missing_eos_penalty=None, n_gpu=1, optim=None,
            torch_empty_cache_steps=None, gradient_accumulation_steps=1,
        ),
        _generate=lambda *_: (ids, ids, ids, torch.tensor(mask.reshape(2 * size, -1)), None),
        _forward=lambda *_: next(passes),
        _calculate_rewards_from_functions=lambda **_: torch.tensor(rewards.reshape(-1)),
        processing_class=types.SimpleNamespace(batch_decode=lambda ids, **_: [""] * len(ids)),
        stats=defaultdict(list),
        accelerator=types.SimpleNamespace(gather_for_metrics=lambda x: x, backward=said.append),
    )  # fmt: skip
    model = types.SimpleNamespace(train=lambda: None)
    trainer.training_step(itself, model, {"prompt": ["?"] * size})
    said[0].backward()
    return float(said[0].detach()), logits.grad.numpy().reshape(log_prob.shape)
