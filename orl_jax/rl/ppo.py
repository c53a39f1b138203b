"""One PPO step on scalar scores: VLM-RLAIF (arXiv 2402.03746), the baseline of GRPO_rank.

Per-token rewards (fixed KL penalty, the score at the end token), a value model with the policy's
backbone and adapters of its own, GAE, clipped policy and value losses.

Deviations from yonseivnl/vlm-rlaif at 610cac7, each deliberate:

* KL, advantages, their whitening and both losses are masked to the responses. There, padding up to
  the window is in every mean.
* The score stands at the last token of the answer, not at the end of the padded window.
* The KL in the reward is k1, unclamped. There it is clamped at 0 from below, which is biased.
* Scores are used as they are. There they are multiplied by a hard-coded 10.
* No truncation at the first "?"; a response counts as cut off where it has no end token, and
  `truncated_reward` (there -8) is then added to its score.
* The value head starts as the reward model's head where `value_from` names one. There it starts at
  zero although the backbone's adapters are the reward model's.
* Policy and value are one loss and one optimiser. There they are two backward passes.
* The G answers to a prompt share the prompt's computation. There, a prompt has one answer.
* A group without a valid ranking (hence without scores) is left out of every sum.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from orl_jax.models.params import combine, policy_of
from orl_jax.models.value import token_values
from orl_jax.ops.gae import clipped_value_loss, generalised_advantages, token_rewards, whiten
from orl_jax.ops.losses import (
    clipped_policy_loss,
    kl_estimate,
    mask_denominator,
    masked_mean,
    response_sum,
)
from orl_jax.ops.predicted_order import predicted_ranks
from orl_jax.rl import rl_metrics
from orl_jax.rl.batch import Ranked, RolloutBatch
from orl_jax.rl.estimators import penalties_of
from orl_jax.rl.minibatches import minibatch_order, pass_keys
from orl_jax.rl.scorer import Scorer
from orl_jax.training.accumulation import accumulated, strided
from orl_jax.training.state import TrainState, apply_gradients, checked


class Constants(NamedTuple):
    """What stays the same over the updates of a rollout; all [B, G, T]."""

    advantages: Float[Array, "B G T"]
    returns: Float[Array, "B G T"]
    values: Float[Array, "B G T"]
    log_prob: Float[Array, "B G T"]
    ref_log_prob: Float[Array, "B G T"]


Part = tuple[RolloutBatch, Constants]


@dataclasses.dataclass(frozen=True)
class PpoSettings:
    """The loss: policy loss + value_coefficient * value loss - entropy_coefficient * entropy.

    Attributes:
      clip_low, clip_high: the importance ratio is clipped to [1 - clip_low, 1 + clip_high].
      entropy_coefficient: weight of the entropy.
      updates_per_rollout: passes over a rollout.
      minibatches: updates in each pass.
      gamma: discount of later tokens.
      lam: of generalised advantage estimation.
      value_clip: how far values may move from the old ones.
      value_coefficient: weight of the value loss.
      kl_reward: KL penalty in every token's reward.
      truncated_reward: added to the score of a response without an end token.
    """

    clip_low: float
    clip_high: float
    entropy_coefficient: float
    updates_per_rollout: int
    minibatches: int
    gamma: float
    lam: float
    value_clip: float
    value_coefficient: float
    kl_reward: float
    truncated_reward: float

    @classmethod
    def of(cls, rl: ConfigDict) -> "PpoSettings":
        """Of `config.rl` with its section `ppo`."""
        return cls(
            clip_low=rl.clip_low,
            clip_high=rl.clip_high,
            entropy_coefficient=rl.entropy_coefficient,
            updates_per_rollout=rl.updates_per_rollout,
            minibatches=rl.ppo.minibatches,
            gamma=rl.ppo.gamma,
            lam=rl.ppo.lam,
            value_clip=rl.ppo.value_clip,
            value_coefficient=rl.ppo.value_coefficient,
            kl_reward=rl.ppo.kl_reward,
            truncated_reward=rl.ppo.truncated_reward,
        )


@dataclasses.dataclass(frozen=True)
class Ppo:
    """The step of PPO; `jax.jit` of `step` compiles once.

    `state.trained` holds the policy's parameters and "value": a copy of them with a "head".

    Attributes:
      scorer: gives log-probabilities.
      optimizer: of the trained parameters.
      settings: see `PpoSettings`.
      end_id: of the end-of-sequence token.
    """

    scorer: Scorer
    optimizer: optax.GradientTransformation
    settings: PpoSettings
    end_id: int

    def step(
        self,
        state: TrainState,
        frozen: dict[str, Any],
        banned: Bool[Array, " V"],
        batch: RolloutBatch,
    ) -> tuple[TrainState, dict[str, Array], Ranked]:
        """Scores the rollout, then `updates_per_rollout` passes over it in `minibatches`.

        Args, returns: as `GrpoRank.step`; the advantages of the table are means over tokens.
        """
        constants, kept = self._estimate(state, frozen, banned, batch), batch.kept()

        def update(state: TrainState, part: Part) -> tuple[TrainState, dict[str, Array]]:
            grads, metrics = self._gradient(state.trained, frozen, banned, part)
            metrics["grad_norm"] = optax.tree.norm(grads)
            return apply_gradients(state, grads, self.optimizer), metrics

        def one_pass(state: TrainState, key: Array) -> tuple[TrainState, dict[str, Array]]:
            order = minibatch_order(key, batch)
            size = order.size // self.settings.minibatches
            parts = jax.tree.map(lambda x: strided(x[order], size), (batch, constants))
            return jax.lax.scan(update, state, parts)

        keys = pass_keys(state, self.settings.updates_per_rollout)
        after, history = jax.lax.scan(one_pass, state, keys)
        metrics = jax.tree.map(lambda values: values[-1, -1], history)
        metrics["value/explained"] = explained(constants.values, constants.returns, kept)
        ranked = self._ranked(constants, batch)
        metrics |= rl_metrics.of_ranks(ranked, batch)
        metrics |= rl_metrics.of_sampler(batch.responses, constants.log_prob)
        return *checked(state, after._replace(step=state.step + 1), metrics), ranked

    def _estimate(
        self, state: TrainState, frozen: dict[str, Any], banned: Array, batch: RolloutBatch
    ) -> Constants:
        """Log-probabilities, values, rewards, and from these advantages and returns."""
        scorer, settings = self.scorer, self.settings

        old = batch.old_log_prob
        if old is None:
            policy = combine(frozen, policy_of(state.trained))
            old = scorer.policy_log_prob(policy, banned, batch)
        ref = scorer.policy_log_prob(combine(frozen, state.reference), banned, batch)
        values = scorer.without_gradient(
            partial(self._values, frozen, state.trained["value"]), batch
        )
        responses = batch.responses
        ended = jnp.any((responses.ids == self.end_id) & responses.mask, axis=-1)
        score = batch.judgement.scores + jnp.where(ended, 0.0, settings.truncated_reward)
        mask = batch.kept()
        rewards = token_rewards(score, old, ref, mask, settings.kl_reward)
        estimate = generalised_advantages(
            rewards, values, mask, gamma=settings.gamma, lam=settings.lam
        )
        return Constants(whiten(estimate.advantages, mask), estimate.returns, values, old, ref)

    def _values(self, frozen: dict[str, Any], value: dict[str, Any], batch: RolloutBatch) -> Array:
        params = combine(frozen, {name: tree for name, tree in value.items() if name != "head"})
        visual = self.scorer.see(params, batch)
        return token_values(
            self.scorer.model, params, value["head"], visual, batch.prompt, batch.responses
        )

    def _gradient(
        self, trained: dict[str, Any], frozen: dict[str, Any], banned: Array, part: Part
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Gradient and metrics of a minibatch, added up over micro-batches of whole groups."""
        denominator = mask_denominator(part[0].kept())

        def loss(trained: dict[str, Any], micro: Part) -> tuple[Array, tuple]:
            value, metrics = self._loss(denominator, trained, frozen, banned, *micro)
            return value, (metrics,)

        return accumulated(loss, trained, self.scorer.split(part))[:2]

    @jax.named_scope("loss")
    def _loss(
        self,
        denominator: Array,
        trained: dict[str, Any],
        frozen: dict[str, Any],
        banned: Array,
        batch: RolloutBatch,
        constants: Constants,
    ) -> tuple[Array, dict[str, Array]]:
        """policy loss + value_coefficient * value loss - entropy_coefficient * entropy.

        Every term and metric is this micro-batch's share of the minibatch's mean.
        """
        settings, mask = self.settings, batch.kept()
        states = self.scorer.states(combine(frozen, policy_of(trained)), batch)
        current = self.scorer.log_probs(states, banned, batch)
        policy = clipped_policy_loss(
            current.log_prob, constants.log_prob, constants.advantages, mask,
            clip_low=settings.clip_low, clip_high=settings.clip_high, denominator=denominator,
        )  # fmt: skip
        values = self._values(frozen, trained["value"], batch)
        value_loss = clipped_value_loss(
            values, constants.values, constants.returns, mask, settings.value_clip, denominator
        )
        entropy = masked_mean(current.entropy, mask, denominator=denominator)
        loss = policy.loss + settings.value_coefficient * value_loss
        loss -= settings.entropy_coefficient * entropy
        drift = kl_estimate(current.log_prob, constants.ref_log_prob, "k3", mask)
        metrics = {
            "loss": loss,
            "policy_loss": policy.loss,
            "value/loss": value_loss,
            "kl": masked_mean(drift, mask, denominator=denominator),
            "entropy": entropy,
            **rl_metrics.of_ratio(policy, denominator),
        }
        return loss, jax.lax.stop_gradient(metrics)

    def _ranked(self, constants: Constants, batch: RolloutBatch) -> Ranked:
        mask = batch.responses.mask
        log_probs = response_sum(constants.log_prob, mask)
        predicted = predicted_ranks(constants.log_prob, mask)
        tokens = jnp.maximum(batch.responses.mask.sum(axis=-1), 1)
        advantages = constants.advantages.sum(axis=-1) / tokens
        return Ranked(log_probs, predicted, advantages, penalties_of(predicted, batch))


def explained(
    values: Float[Array, "B G T"], returns: Float[Array, "B G T"], mask: Bool[Array, "B G T"]
) -> Float[Array, ""]:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect value model, 0 one that is constant.

    0 where the returns are all the same.
    """

    def variance(x: Array) -> Array:
        return masked_mean((x - masked_mean(x, mask)) ** 2, mask)

    spread = variance(returns)
    share = 1 - variance(returns - values) / jnp.where(spread > 0, spread, 1.0)
    return jnp.where(spread > 0, share, 0.0)
