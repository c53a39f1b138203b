"""One GRPO_rank step (Oracle-RLAIF, arXiv 2510.02561): ranks in, updated adapters out.

Inside the one jitted function: log-probabilities of the old, the reference and the current policy
at the sampling temperature, predicted ranks, advantages, clipped loss with KL and entropy terms,
update. GRPO (arXiv 2402.03300) is the same step with advantages from scores; see `estimators.py`.

Deviations from the paper: `form="signed"` (the default) mends the sign of the printed advantage,
which pushes the wrong way; ties share gains; a group without a valid ranking is left out of every
sum. KL and entropy coefficients, clip range and optimiser are not published: ours.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool
from ml_collections import ConfigDict

from orl_jax.models.params import combine
from orl_jax.models.vlm import VLM
from orl_jax.ops.losses import clipped_policy_loss, kl_estimate, mask_denominator, masked_mean
from orl_jax.rl import rl_metrics
from orl_jax.rl.batch import Ranked, RolloutBatch
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.scorer import Scorer, States
from orl_jax.training.state import TrainState, apply_gradients


@dataclasses.dataclass(frozen=True)
class Settings:
    """The numbers of a step that are fixed when it is compiled. Names as in `config.rl`."""

    temperature: float
    form: str
    mix: float
    discount: str
    clip_low: float
    clip_high: float
    kl_coefficient: float
    kl_estimator: str
    entropy_coefficient: float
    normalisation: str
    updates_per_rollout: int
    micro_batch: int
    vocabulary_chunk: int
    adapter_trained: bool = False
    algorithm: str = "grpo_rank"

    @classmethod
    def from_config(cls, config: ConfigDict, *, adapter_trained: bool) -> "Settings":
        """Reads `config.rl` and `config.model.vocabulary_chunk`."""
        own = {field.name for field in dataclasses.fields(cls)}
        values = {key: value for key, value in config.rl.items() if key in own}
        advantage = dict(config.rl.advantage)
        if config.rl.algorithm == "grpo":
            advantage["form"] = config.rl.grpo.form
        return cls(
            **values,
            **advantage,
            vocabulary_chunk=config.model.vocabulary_chunk,
            adapter_trained=adapter_trained,
        )


@dataclasses.dataclass(frozen=True)
class GrpoRank:
    """The step of a model, optimiser and settings; `jax.jit` of `step` compiles once."""

    model: VLM
    optimizer: optax.GradientTransformation
    settings: Settings

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
          batch: whole groups; see `RolloutBatch`.

        Returns:
          The new state, the metrics of the last update by the names that `metrics.jsonl` has, and
          what was made of each response.
        """
        scorer, exact = self._scorer(), self.settings.kl_estimator == "exact"
        ref_params = combine(frozen, state.reference)

        def log_prob(params: dict[str, Any], part: RolloutBatch) -> Array:
            return scorer.log_probs(scorer.states(params, part), banned, part).log_prob

        def ref_hidden(part: RolloutBatch) -> Array:
            return scorer.states(ref_params, part).hidden

        reference = scorer.without_gradient(
            ref_hidden if exact else partial(log_prob, ref_params), batch
        )
        # With one update, the old policy is the current one and is scored with it.
        old = batch.old_log_prob
        if old is None and self.settings.updates_per_rollout > 1:
            params = combine(frozen, state.trained)
            old = scorer.without_gradient(partial(log_prob, params), batch)
        ref_kernel = self.model.apply({"params": ref_params}, method=VLM.vocabulary_kernel)
        loss = partial(self._loss, scorer, frozen, banned, ref_kernel)
        gradient = partial(self._gradient, loss, batch, reference, old)

        def update(state: TrainState, _: None) -> tuple[TrainState, tuple]:
            grads, metrics, ranked, old = gradient(state.trained)
            metrics["grad_norm"] = optax.tree.norm(grads)
            return apply_gradients(state, grads, self.optimizer), (metrics, ranked, old)

        state, history = jax.lax.scan(update, state, length=self.settings.updates_per_rollout)
        metrics, ranked, old = jax.tree.map(lambda values: values[-1], history)
        metrics |= rl_metrics.of_ranks(ranked, batch.judgement)
        metrics |= rl_metrics.of_sampler(batch.responses, old)
        return state._replace(step=state.step + 1), metrics, ranked

    def _scorer(self) -> Scorer:
        own = {field.name for field in dataclasses.fields(Scorer)} - {"model"}
        return Scorer(self.model, **{name: getattr(self.settings, name) for name in own})

    def _estimator(self) -> Estimator:
        own = [field.name for field in dataclasses.fields(Estimator)]
        return Estimator(**{name: getattr(self.settings, name) for name in own})

    def _gradient(
        self,
        loss: Any,
        batch: RolloutBatch,
        reference: Array,
        old: Array | None,
        trained: dict[str, Any],
    ) -> tuple[dict[str, Any], dict[str, Array], Ranked, Array]:
        """Gradient of the whole batch's loss, added up over micro-batches of whole groups.

        Also its metrics, what was made of the responses, and the old log-probabilities.
        """
        mask = batch.kept()
        denominator = mask_denominator(mask, self.settings.normalisation)
        gradient = jax.value_and_grad(
            partial(loss, denominator, mask_denominator(mask)), has_aux=True
        )

        def accumulate(total: Any, part: Any) -> tuple[Any, tuple[Ranked, Array]]:
            (_, (metrics, *seen)), grads = gradient(trained, *part)
            summed = jax.tree.map(jnp.add, total, (grads, metrics))
            ratio_max = jnp.maximum(total[1]["ratio/max"], metrics["ratio/max"])
            summed[1]["ratio/max"] = ratio_max  # the one metric that does not add up
            return summed, tuple(seen)

        parts = self._scorer().split((batch, reference, old))
        (_, (metrics, *_)), grads = jax.eval_shape(
            gradient, trained, *jax.tree.map(lambda x: x[0], parts)
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, metrics))
        (grads, metrics), seen = jax.lax.scan(accumulate, zeros, parts)
        ranked, old = self._scorer().join(seen)
        return grads, metrics, ranked, old

    @jax.named_scope("loss")
    def _loss(
        self,
        scorer: Scorer,
        frozen: dict[str, Any],
        banned: Array,
        ref_kernel: Array,
        denominator: Array,
        tokens: Array,
        trained: dict[str, Any],
        batch: RolloutBatch,
        reference: Array,
        old: Array | None,
    ) -> tuple[Array, tuple[dict[str, Array], Ranked, Array]]:
        """policy loss + kl_coefficient * KL - entropy_coefficient * entropy, of one micro-batch.

        Every term and metric is this micro-batch's share of the whole batch's mean. Groups are
        whole in it, so their advantages are found here.
        """
        settings, mask = self.settings, batch.kept()
        states = scorer.states(combine(frozen, trained), batch)
        current = scorer.log_probs(states, banned, batch)
        old = jax.lax.stop_gradient(current.log_prob) if old is None else old
        ranked = self._estimator()(old, batch)
        policy = clipped_policy_loss(
            current.log_prob, old, ranked.advantages, mask,
            clip_low=settings.clip_low, clip_high=settings.clip_high,
            normalisation=settings.normalisation, denominator=denominator,
        )  # fmt: skip
        if settings.kl_estimator == "exact":
            divergence = scorer.exact_kl(states, States(reference, ref_kernel), banned)
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
        metrics |= rl_metrics.of_ratio(policy, tokens)
        return loss, jax.lax.stop_gradient((metrics, ranked, old))
