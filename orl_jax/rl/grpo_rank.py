"""One GRPO_rank step (Oracle-RLAIF, arXiv 2510.02561): ranks in, updated adapters out.

Inside the one jitted function: log-probabilities of the old, the reference and the current policy
at the sampling temperature, predicted ranks, advantages, clipped loss with KL and entropy terms,
update. GRPO (arXiv 2402.03300) is the same step with advantages from scores; see `estimators.py`.

Deviations from the paper: `form="signed"` (the default) corrects the sign of the printed advantage,
which pushes the wrong way; ties share gains; a group without a valid ranking is left out of every
sum. KL and entropy coefficients, clip range and optimiser are not published: these are ours.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from orl_jax.models.params import combine
from orl_jax.models.vlm import VLM
from orl_jax.ops.losses import clipped_policy_loss, kl_estimate, mask_denominator, masked_mean
from orl_jax.rl import rl_metrics
from orl_jax.rl.accumulation import accumulated
from orl_jax.rl.batch import Ranked, RolloutBatch
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.scorer import Scorer, States
from orl_jax.run.errors import UserError
from orl_jax.training.state import TrainState, apply_gradients, checked


@dataclasses.dataclass(frozen=True)
class PolicyLossSettings:
    """The loss: policy loss + kl_coefficient * KL - entropy_coefficient * entropy.

    Attributes:
      clip_low, clip_high: the importance ratio is clipped to [1 - clip_low, 1 + clip_high].
      kl_coefficient: weight of the KL to the reference.
      kl_estimator: "k2" | "k3" | "exact" (over the vocabulary); "k1" only with a coefficient of 0,
        to log it: its expected gradient is 0.
      entropy_coefficient: weight of the entropy.
      normalisation: of means over tokens: "token" | "sequence" | "constant"; see `ops.losses`.

    Raises:
      UserError: k1 as a loss.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coefficient: float = 0.02
    kl_estimator: str = "k3"
    entropy_coefficient: float = 0.0
    normalisation: str = "token"

    def __post_init__(self) -> None:
        if self.kl_estimator == "k1" and self.kl_coefficient:
            raise UserError(
                f"kl_estimator is 'k1' with kl_coefficient={self.kl_coefficient}; its expected "
                "gradient is 0: choose k3, k2 or exact, or a kl_coefficient of 0"
            )

    @classmethod
    def of(cls, rl: ConfigDict) -> "PolicyLossSettings":
        """Of `config.rl`."""
        return cls(
            clip_low=rl.clip_low,
            clip_high=rl.clip_high,
            kl_coefficient=rl.kl_coefficient,
            kl_estimator=rl.kl_estimator,
            entropy_coefficient=rl.entropy_coefficient,
            normalisation=rl.normalisation,
        )


class Scored(NamedTuple):
    """A rollout with what stays the same over its updates; all have rows [B, ...].

    Attributes:
      batch: the rollout.
      reference: log-probabilities [B, G, T] under the reference; with the exact KL, hidden states
        [B, G, T, D].
      old_log_prob: under the policy that sampled; None where that is the current one.
    """

    batch: RolloutBatch
    reference: Float[Array, "B G ..."]
    old_log_prob: Float[Array, "B G T"] | None


class Constants(NamedTuple):
    """What all micro-batches share.

    Attributes:
      frozen: parameters.
      banned: tokens that are never sampled.
      reference_kernel: the reference's projection to logits.
      denominator: of means over the tokens of the whole batch.
      tokens: of the whole batch.
    """

    frozen: dict[str, Any]
    banned: Bool[Array, " V"]
    reference_kernel: Float[Array, "D V"]
    denominator: Float[Array, "..."]
    tokens: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class GrpoRank:
    """The step of GRPO_rank or GRPO; `jax.jit` of `step` compiles once.

    Attributes:
      scorer: gives log-probabilities.
      estimator: gives advantages.
      optimizer: of the trained parameters.
      loss: see `PolicyLossSettings`.
      updates_per_rollout: updates on the whole rollout, one after the other.

    Example:

        algorithm = GrpoRank(Scorer(model, temperature=1.0), Estimator(), optax.adam(1e-3))
        state, metrics, ranked = jax.jit(algorithm.step)(state, frozen, banned, batch)
    """

    scorer: Scorer
    estimator: Estimator
    optimizer: optax.GradientTransformation
    loss: PolicyLossSettings = PolicyLossSettings()
    updates_per_rollout: int = 1

    def step(
        self,
        state: TrainState,
        frozen: dict[str, Any],
        banned: Bool[Array, " V"],
        batch: RolloutBatch,
    ) -> tuple[TrainState, dict[str, Array], Ranked]:
        """Scores the rollout, then updates `updates_per_rollout` times on all of it.

        Args:
          state: `trained` are the adapters, `reference` their frozen copy.
          frozen: all other parameters.
          banned: tokens that are never sampled.
          batch: whole groups with their judgement.

        Returns:
          The new state (see `checked`), the metrics of the last update by the names that
          `metrics.jsonl` has, and what was made of each response.
        """
        scored = self._score(state, frozen, banned, batch)
        constants = self._constants(state, frozen, banned, batch)

        def update(state: TrainState, _: None) -> tuple[TrainState, tuple]:
            grads, metrics, ranked, old = self._gradient(constants, scored, state.trained)
            metrics["grad_norm"] = optax.tree.norm(grads)
            return apply_gradients(state, grads, self.optimizer), (metrics, ranked, old)

        after, history = jax.lax.scan(update, state, length=self.updates_per_rollout)
        metrics, ranked, old = jax.tree.map(lambda values: values[-1], history)
        metrics |= rl_metrics.of_ranks(ranked, batch)
        metrics |= rl_metrics.of_sampler(batch.responses, old)
        return *checked(state, after._replace(step=state.step + 1), metrics), ranked

    def _score(
        self, state: TrainState, frozen: dict[str, Any], banned: Array, batch: RolloutBatch
    ) -> Scored:
        scorer, reference = self.scorer, combine(frozen, state.reference)
        if self.loss.kl_estimator == "exact":
            found = scorer.without_gradient(
                lambda part: scorer.states(reference, part).hidden, batch
            )
        else:
            found = scorer.policy_log_prob(reference, banned, batch)
        # With one update, the old policy is the current one and is scored with it.
        old = batch.old_log_prob
        if old is None and self.updates_per_rollout > 1:
            old = scorer.policy_log_prob(combine(frozen, state.trained), banned, batch)
        return Scored(batch, found, old)

    def _constants(
        self, state: TrainState, frozen: dict[str, Any], banned: Array, batch: RolloutBatch
    ) -> Constants:
        params, mask = combine(frozen, state.reference), batch.kept()
        kernel = self.scorer.model.apply({"params": params}, method=VLM.vocabulary_kernel)
        denominator = mask_denominator(mask, self.loss.normalisation)
        return Constants(frozen, banned, kernel, denominator, mask_denominator(mask))

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
        if self.loss.kl_estimator != "exact":
            return part.reference
        if self.estimator.predicted != "ratio":
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
        policy = clipped_policy_loss(
            current.log_prob, old, ranked.advantages, mask,
            clip_low=settings.clip_low, clip_high=settings.clip_high,
            normalisation=settings.normalisation, denominator=denominator,
        )  # fmt: skip
        if settings.kl_estimator == "exact":
            whole = States(part.reference, constants.reference_kernel)
            divergence = self.scorer.exact_kl(states, whole, constants.banned)
        else:
            divergence = kl_estimate(current.log_prob, reference, settings.kl_estimator, mask)
        kl, entropy = (
            masked_mean(values, mask, settings.normalisation, denominator)
            for values in (divergence, current.entropy)
        )
        if not settings.entropy_coefficient:  # XLA keeps a backward pass that is multiplied by 0
            entropy = jax.lax.stop_gradient(entropy)
        loss = policy.loss + settings.kl_coefficient * kl - settings.entropy_coefficient * entropy
        metrics = {"loss": loss, "policy_loss": policy.loss, "kl": kl, "entropy": entropy}
        metrics |= rl_metrics.of_ratio(policy, constants.tokens)
        return loss, jax.lax.stop_gradient((metrics, ranked, old))
