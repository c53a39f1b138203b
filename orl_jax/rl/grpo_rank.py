"""One GRPO_rank step (Oracle-RLAIF, arXiv 2510.02561): ranks in, updated adapters out.

Inside the one jitted function: log-probabilities of the old, the reference and the current policy
at the sampling temperature, predicted ranks, advantages, clipped loss with KL and entropy terms,
update. GRPO (arXiv 2402.03300) is the same step with advantages from scores (`estimators.py`);
online DPO and its relatives put a loss of the order in place of the clipped one (`direct.py`).

Deviations from the paper: `form="signed"` (the default) corrects the sign of the printed advantage,
which pushes the wrong way; ties share gains; a group without a valid ranking is left out of every
sum. KL and entropy coefficients, clip range and optimiser are not published: these are ours.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from orl_jax.models.params import combine
from orl_jax.models.vlm import VLM
from orl_jax.ops.losses import (
    clipped_policy_loss,
    kl_estimate,
    mask_denominator,
    masked_mean,
    sampler_weights,
)
from orl_jax.rl import rl_metrics
from orl_jax.rl.batch import Ranked, RolloutBatch
from orl_jax.rl.direct import DirectLoss, groups_with_order
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.minibatches import minibatch_order, pass_keys
from orl_jax.rl.policy_loss import PolicyLossSettings
from orl_jax.rl.scorer import Scorer, States
from orl_jax.training.accumulation import accumulated, over_minibatches, strided
from orl_jax.training.state import TrainState, apply_gradients, checked


class Scored(NamedTuple):
    """A rollout with what stays the same over its updates; all have rows [B, ...].

    Attributes:
      batch: the rollout.
      reference: log-probabilities [B, G, T] under the reference; with the exact KL, hidden states
        [B, G, T, D]; None where nothing reads it.
      old_log_prob: under the policy that sampled; None where that is the current one.
    """

    batch: RolloutBatch
    reference: Float[Array, "B G ..."] | None
    old_log_prob: Float[Array, "B G T"] | None


class Constants(NamedTuple):
    """What all micro-batches share.

    Attributes:
      frozen: parameters.
      banned: tokens that are never sampled.
      reference_kernel: the reference's projection to logits.
      denominator: of means over the tokens of the whole batch.
      tokens: of the whole batch.
      groups: with an order, of the whole batch.
    """

    frozen: dict[str, Any]
    banned: Bool[Array, " V"]
    reference_kernel: Float[Array, "D V"]
    denominator: Float[Array, "..."]
    tokens: Float[Array, ""]
    groups: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class GrpoRank:
    """The step of GRPO_rank or GRPO; `jax.jit` of `step` compiles once.

    Attributes:
      scorer: gives log-probabilities.
      estimator: gives advantages.
      optimizer: of the trained parameters.
      loss: see `PolicyLossSettings`.
      direct: a loss of the order in place of the clipped one.
      updates_per_rollout: passes over the rollout, one after the other.
      minibatches: updates in each pass, each on a part of the prompts, drawn anew.

    Example:

        algorithm = GrpoRank(Scorer(model, temperature=1.0), Estimator(), optax.adam(1e-3))
        state, metrics, ranked = jax.jit(algorithm.step)(state, frozen, banned, batch)
    """

    scorer: Scorer
    estimator: Estimator
    optimizer: optax.GradientTransformation
    loss: PolicyLossSettings = PolicyLossSettings()
    updates_per_rollout: int = 1
    direct: DirectLoss | None = None
    minibatches: int = 1

    def step(
        self,
        state: TrainState,
        frozen: dict[str, Any],
        banned: Bool[Array, " V"],
        batch: RolloutBatch,
    ) -> tuple[TrainState, dict[str, Array], Ranked]:
        """Scores the rollout, then passes over it `updates_per_rollout` times, in `minibatches`.

        Args:
          state: `trained` are the adapters, `reference` their frozen copy.
          frozen: all other parameters.
          banned: tokens that are never sampled.
          batch: whole groups with their judgement.

        Returns:
          The new state (see `checked`), the metrics of the last pass by the names that
          `metrics.jsonl` has, and what was made of each response.
        """
        scored = self._score(state, frozen, banned, batch)

        def update(state: TrainState, part: Scored) -> tuple[TrainState, tuple]:
            constants = self._constants(state, frozen, banned, part.batch)
            grads, metrics, ranked, old = self._gradient(constants, part, state.trained)
            metrics["grad_norm"] = optax.tree.norm(grads)
            return apply_gradients(state, grads, self.optimizer), (metrics, ranked, old)

        def one_pass(state: TrainState, key: Array) -> tuple[TrainState, tuple]:
            if self.minibatches == 1:
                return update(state, scored)
            order = minibatch_order(key, batch)
            parts = jax.tree.map(
                lambda x: strided(x[order], order.size // self.minibatches), scored
            )
            state, (metrics, *seen) = jax.lax.scan(update, state, parts)
            back = jnp.argsort(order)
            seen = jax.tree.map(lambda x: x[back], self.scorer.join(seen))
            return state, (over_minibatches(metrics), *seen)

        keys = pass_keys(state, self.updates_per_rollout)
        after, history = jax.lax.scan(one_pass, state, keys)
        metrics, ranked, old = jax.tree.map(lambda values: values[-1], history)
        metrics |= rl_metrics.of_ranks(ranked, batch)
        metrics |= rl_metrics.of_sampler(batch.responses, old)
        return *checked(state, after._replace(step=state.step + 1), metrics), ranked

    def _score(
        self, state: TrainState, frozen: dict[str, Any], banned: Array, batch: RolloutBatch
    ) -> Scored:
        scorer, reference = self.scorer, combine(frozen, state.reference)
        found = None
        if self._exact:
            found = scorer.without_gradient(
                lambda part: scorer.states(reference, part).hidden, batch
            )
        elif self.loss.reads_reference or self._reads_reference:
            found = scorer.policy_log_prob(reference, banned, batch)
        # With one update, the old policy is the current one and is scored with it.
        old = batch.old_log_prob
        if old is None and self.updates_per_rollout * self.minibatches > 1:
            old = scorer.policy_log_prob(combine(frozen, state.trained), banned, batch)
        return Scored(batch, found, old)

    def _constants(
        self, state: TrainState, frozen: dict[str, Any], banned: Array, batch: RolloutBatch
    ) -> Constants:
        params, mask = combine(frozen, state.reference), batch.kept()
        kernel = self.scorer.model.apply({"params": params}, method=VLM.vocabulary_kernel)
        denominator = mask_denominator(mask, self.loss.normalisation)
        groups = jnp.maximum(groups_with_order(batch.judgement), 1.0)
        return Constants(frozen, banned, kernel, denominator, mask_denominator(mask), groups)

    @property
    def _exact(self) -> bool:
        return self.loss.kl_estimator == "exact" and self.loss.reads_reference

    @property
    def _reads_reference(self) -> bool:
        """Whether another term than the KL reads log-probabilities under the reference."""
        in_order = self.direct is not None and self.direct.reads_reference
        return in_order or self.estimator.predicted == "ratio"

    def _gradient(
        self, constants: Constants, scored: Scored, trained: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Array], Ranked, Array]:
        """Gradient of the whole batch's loss, added up over micro-batches of whole groups.

        Also its metrics, what was made of the responses, and the old log-probabilities.
        """
        loss, parts = partial(self._loss, constants), self.scorer.split(scored)
        grads, metrics, seen = accumulated(loss, trained, parts)
        ranked, old = self.scorer.join(seen)
        return grads, metrics, ranked, old

    def _reference(self, constants: Constants, part: Scored) -> Float[Array, "B G T"] | None:
        """Log-probabilities under the reference; None with the exact KL if nothing else asks."""
        if not self._exact:
            return part.reference
        if not self._reads_reference:
            return None
        states = States(part.reference, constants.reference_kernel)
        return self.scorer.log_probs(states, constants.banned, part.batch).log_prob

    @jax.named_scope("loss")
    def _loss(
        self, constants: Constants, trained: dict[str, Any], part: Scored
    ) -> tuple[Array, tuple[dict[str, Array], Ranked, Array]]:
        """Policy loss, KL and entropy of one micro-batch; see `PolicyLossSettings`.

        Every term and metric is this micro-batch's share of the whole batch's mean. Groups are
        whole in it, so their advantages are computed here.
        """
        settings, batch = self.loss, part.batch
        mask, denominator = batch.kept(), constants.denominator
        states = self.scorer.states(combine(constants.frozen, trained), batch)
        current = self.scorer.log_probs(states, constants.banned, batch)
        old = part.old_log_prob
        old = jax.lax.stop_gradient(current.log_prob) if old is None else old
        reference = self._reference(constants, part)
        ranked = self.estimator(old, batch, reference)
        cap, sampled = settings.importance_cap, batch.responses.log_prob
        policy = clipped_policy_loss(
            current.log_prob, old, ranked.advantages, mask,
            clip_low=settings.clip_low, clip_high=settings.clip_high, clip_dual=settings.clip_dual,
            weights=sampler_weights(old, sampled, cap) if cap else None,
            normalisation=settings.normalisation, denominator=denominator,
        )  # fmt: skip
        if self.direct:
            pushed = self.direct(current.log_prob, reference, batch)
            policy = policy._replace(loss=pushed.loss / constants.groups)
            ranked = ranked._replace(advantages=pushed.advantages)
        entropy = masked_mean(current.entropy, mask, settings.normalisation, denominator)
        if not settings.entropy_coefficient:  # XLA keeps a backward pass that is multiplied by 0
            entropy = jax.lax.stop_gradient(entropy)
        loss = policy.loss - settings.entropy_coefficient * entropy
        metrics = {"policy_loss": policy.loss, "entropy": entropy}
        if part.reference is not None:
            divergence = self._divergence(constants, states, current.log_prob, part)
            kl = masked_mean(divergence, mask, settings.normalisation, denominator)
            if settings.kl_coefficient:
                loss += settings.kl_coefficient * kl
            metrics["kl"] = kl
        metrics |= {"loss": loss} | rl_metrics.of_ratio(policy, constants.tokens)
        return loss, jax.lax.stop_gradient((metrics, ranked, old))

    def _divergence(
        self, constants: Constants, states: States, log_prob: Array, part: Scored
    ) -> Float[Array, "B G T"]:
        """KL to the reference at each token; k3 for the exact one where that is only logged."""
        if self._exact:
            reference = States(part.reference, constants.reference_kernel)
            return self.scorer.exact_kl(states, reference, constants.banned)
        kind = "k3" if self.loss.kl_estimator == "exact" else self.loss.kl_estimator
        return kl_estimate(log_prob, part.reference, kind, part.batch.kept())
