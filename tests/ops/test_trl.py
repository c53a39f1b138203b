"""Our loss against the GRPO loss of the installed TRL, on the same tensors."""

import types
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.ops.advantages import standardised_advantages
from orl_jax.ops.losses import (
    clipped_policy_loss,
    kl_estimate,
    masked_mean,
    sampler_weights,
)

torch = pytest.importorskip("torch", reason="parity: pip install -e .[torch]")
trainer = pytest.importorskip("trl.trainer.grpo_trainer", reason="parity: pip install -e .[peers]")

B, G, T = 3, 4, 6
BETA, LOW, HIGH, ENTROPY = 0.1, 0.2, 0.28, 0.05
# TRL's names for the normalisations; on one process with one micro-batch, `bnpo` is `dapo`.
NAMES = {"grpo": "sequence", "bnpo": "token", "dapo": "token", "dr_grpo": "constant"}


@pytest.fixture(scope="module")
def tensors():
    """log_prob, old, reference, entropy [B, G, T], advantages [B, G] and the mask, in numpy."""
    rng = np.random.default_rng(0)
    old = -rng.uniform(0.1, 3, (B, G, T))
    log_prob = old + 0.3 * rng.normal(size=old.shape)  # some ratios are clipped
    reference = old + 0.5 * rng.normal(size=old.shape)
    mask = np.arange(T) < rng.integers(1, T + 1, (B, G, 1))
    values = log_prob, old, reference, rng.uniform(0, 2, old.shape), rng.normal(size=(B, G)), mask
    return [np.asarray(value, np.float32) for value in values]


def loss_of_trl(tensors, loss_type, delta=None, weights=None):
    """TRL's loss and its gradient with respect to the log-probabilities."""
    flat = [torch.tensor(x.reshape(B * G, *x.shape[2:])) for x in tensors]
    log_prob, old, reference, entropy, advantages, mask = flat
    log_prob.requires_grad_(True)
    itself = types.SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (log_prob, entropy, None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level="token", beta=BETA, loss_type=loss_type,
        epsilon_low=LOW, epsilon_high=HIGH, max_completion_length=T,
        use_vllm=weights is not None, vllm_importance_sampling_correction=True,
        current_gradient_accumulation_steps=1, model=types.SimpleNamespace(training=True),
        args=types.SimpleNamespace(
            use_bias_correction_kl=False, delta=delta, steps_per_generation=1
        ),
        _entropy_bonus_enabled=True, use_adaptive_entropy=False, entropy_coef=ENTROPY,
        accelerator=types.SimpleNamespace(
            num_processes=1, sync_gradients=True,
            gather=lambda x: x, reduce=lambda x, reduction: x,
        ),
        _metrics={"train": defaultdict(list)},
    )  # fmt: skip
    ids = torch.zeros((B * G, 1), dtype=torch.long)
    inputs = {
        "prompt_ids": ids, "prompt_mask": ids, "completion_ids": ids.expand(-1, T),
        "completion_mask": mask, "advantages": advantages, "old_per_token_logps": old,
        "ref_per_token_logps": reference, "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    if weights is not None:
        inputs["importance_sampling_ratio"] = torch.tensor(np.array(weights).reshape(B * G, T))
    loss = trainer.GRPOTrainer._compute_loss(itself, None, inputs)
    loss.backward()
    return float(loss.detach()), log_prob.grad.numpy().reshape(B, G, T)


def our_loss(log_prob, old, reference, entropy, advantages, mask, normalisation, **options):
    """The loss as `GrpoRank` composes it; TRL's entropy term is always a mean over tokens."""
    policy = clipped_policy_loss(
        log_prob, old, advantages, mask,
        clip_low=LOW, clip_high=HIGH, normalisation=normalisation, **options,
    )  # fmt: skip
    kl = masked_mean(kl_estimate(log_prob, reference, "k3", mask), mask, normalisation)
    return policy.loss + BETA * kl - ENTROPY * masked_mean(entropy, mask)


@pytest.mark.parametrize("loss_type", NAMES)
def test_loss_and_gradient_match_trl(tensors, loss_type):
    expected, gradient = loss_of_trl(tensors, loss_type)
    arrays = [jnp.asarray(x) for x in tensors]
    ours = jax.value_and_grad(lambda *x: our_loss(*x, NAMES[loss_type]))(*arrays)
    assert float(ours[0]) == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(ours[1], gradient, atol=1e-5)
    assert np.abs(gradient).max() > 1e-3


def test_the_bound_of_negative_advantages_is_the_delta_of_trl(tensors):
    log_prob, old, *rest = tensors
    apart = [old + 4 * (log_prob - old), old, *rest]  # ratios above 1.5
    expected, gradient = loss_of_trl(apart, "dapo", delta=1.5)
    arrays = [jnp.asarray(x) for x in apart]
    ours = jax.value_and_grad(lambda *x: our_loss(*x, "token", clip_dual=1.5))(*arrays)
    assert float(ours[0]) == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(ours[1], gradient, atol=1e-5)
    assert abs(expected - loss_of_trl(apart, "dapo")[0]) > 1e-3


def test_truncated_importance_sampling_matches_trl(tensors):
    """TRL's trainer computes the weights before the loss; they are factors of the policy's term."""
    log_prob, old, reference, entropy, advantages, mask = (jnp.asarray(x) for x in tensors)
    sampled = old + 0.4 * jnp.array(np.random.default_rng(7).normal(size=old.shape), jnp.float32)
    weights = sampler_weights(old, sampled, 1.5)
    np.testing.assert_allclose(weights, np.minimum(np.exp(old - sampled), 1.5), rtol=1e-6)
    assert 0.1 < float((weights > 1.499).mean()) < 0.5

    def ours(log_prob):
        policy = clipped_policy_loss(
            log_prob, old, advantages, mask, clip_low=LOW, clip_high=HIGH, weights=weights
        )
        kl = masked_mean(kl_estimate(log_prob, reference, "k3", mask), mask)
        return policy.loss + BETA * kl - ENTROPY * masked_mean(entropy, mask)

    expected, gradient = loss_of_trl(tensors, "dapo", weights=weights)
    value, slope = jax.value_and_grad(ours)(log_prob)
    assert float(value) == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(slope, gradient, atol=1e-5)


def test_advantages_match_trl():
    # TRL 1.16.0, trainer/grpo_trainer.py, scale_rewards="group"
    rewards = torch.tensor([[1.0, 0.0, 2.0, 1.0], [0.5, 0.5, 0.5, 0.5], [3.0, -1.0, 0.0, 0.0]])
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    expected = centred / (trainer.nanstd(rewards, dim=1)[:, None] + 1e-4)
    np.testing.assert_allclose(standardised_advantages(rewards.numpy()), expected, atol=1e-6)
