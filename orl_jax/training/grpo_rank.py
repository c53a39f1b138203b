"""One GRPO_rank step (Oracle-RLAIF, arXiv 2510.02561): ranks in, updated adapters out.

Inside the one jitted function: log-probabilities of the old, the reference and the current policy
at the sampling temperature, predicted ranks, advantages, clipped loss with KL and entropy terms,
update.

Deviations from the paper: `form="signed"` (the default) mends the sign of the printed advantage,
which pushes the wrong way; ties share gains; a group without a valid ranking is left out of every
sum. KL and entropy coefficients, clip range and optimiser are not published: ours.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from orl_jax.models.params import combine
from orl_jax.models.vlm import VLM
from orl_jax.ops.advantages import rank_advantages, rank_penalties
from orl_jax.ops.log_probs import TokenLogProbs, token_log_probs
from orl_jax.ops.losses import clipped_policy_loss, kl_estimate, mask_denominator, masked_mean
from orl_jax.ops.ranking import ranks
from orl_jax.training import rl_metrics
from orl_jax.training.state import TrainState, apply_gradients


class RankedBatch(NamedTuple):
    """A rollout with the Oracle's ranks; the groups of all prompts are whole.

    `media` are visual tokens [B, N, D], or features [B, F, P, E] where the adapter is trained.
    """

    media: Float[Array, "B ..."]
    prompt_ids: Int[Array, "B L"]
    prompt_mask: Bool[Array, "B L"]
    response_ids: Int[Array, "B G T"]
    response_mask: Bool[Array, "B G T"]
    rollout_log_prob: Float[Array, "B G T"]
    oracle_ranks: Float[Array, "B G"]
    valid: Bool[Array, " B"]


class Ranked(NamedTuple):
    """What the step makes of each response, for the table of rollouts; all [B, G]."""

    log_probs: Float[Array, "B G"]
    predicted_ranks: Float[Array, "B G"]
    advantages: Float[Array, "B G"]
    penalties: Float[Array, "B G"]


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

    @classmethod
    def from_config(cls, config: ConfigDict, *, adapter_trained: bool) -> "Settings":
        """Reads `config.rl` and `config.model.vocabulary_chunk`."""
        own = {field.name for field in dataclasses.fields(cls)}
        values = {key: value for key, value in config.rl.items() if key in own}
        chunk = config.model.vocabulary_chunk
        return cls(
            **values,
            **config.rl.advantage,
            vocabulary_chunk=chunk,
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
        batch: RankedBatch,
    ) -> tuple[TrainState, dict[str, Array], Ranked]:
        """Scores the rollout, then updates `updates_per_rollout` times on all of it.

        Args:
          state: `trained` are the adapters, `reference` their frozen copy.
          frozen: all other parameters.
          banned: tokens that are never sampled.
          batch: whole groups; see `RankedBatch`.

        Returns:
          The new state, the metrics of the last update by the names that `metrics.jsonl` has, and
          what was made of each response.
        """
        log_prob = partial(self._log_probs, frozen, banned)
        old = self._scored(log_prob, state.trained, batch)
        reference = self._scored(log_prob, state.reference, batch)
        ranked = self._rank(old, batch)
        gradient = partial(self._gradient, log_prob, batch, ranked, old, reference)

        def update(state: TrainState, _: None) -> tuple[TrainState, dict[str, Array]]:
            grads, metrics = gradient(state.trained)
            metrics["grad_norm"] = optax.tree.norm(grads)
            return apply_gradients(state, grads, self.optimizer), metrics

        state, history = jax.lax.scan(update, state, length=self.settings.updates_per_rollout)
        metrics = jax.tree.map(lambda values: values[-1], history)
        metrics |= rl_metrics.of_ranks(ranked, batch)
        metrics |= rl_metrics.of_sampler(batch.rollout_log_prob, old, batch.response_mask)
        return state._replace(step=state.step + 1), metrics, ranked

    def _log_probs(
        self,
        frozen: dict[str, Any],
        banned: Array,
        trained: dict[str, Any],
        batch: RankedBatch,
    ) -> TokenLogProbs:
        """Of the sampled tokens, [B, G, T], at the sampling temperature."""
        variables = {"params": combine(frozen, trained)}
        media = batch.media
        if self.settings.adapter_trained:
            media = self.model.apply(variables, media, method=VLM.adapt)
        hidden = self.model.apply(
            variables, media, *batch[1:5], method=VLM.hidden_states
        )  # batch[1:5]: prompt and response, ids and masks
        kernel = self.model.apply(variables, method=VLM.vocabulary_kernel)
        return token_log_probs(
            hidden,
            kernel,
            batch.response_ids,
            temperature=self.settings.temperature,
            banned=banned,
            chunk_size=self.settings.vocabulary_chunk,
        )

    def _scored(self, log_prob: Any, trained: dict[str, Any], batch: RankedBatch) -> Array:
        """Log-probabilities without gradient, micro-batch by micro-batch: [B, G, T]."""
        parts = jax.lax.map(lambda part: log_prob(trained, part).log_prob, self._split(batch))
        return jax.lax.stop_gradient(parts.reshape(batch.response_ids.shape))

    def _split(self, tree: Any) -> Any:
        """[B, ...] -> [micro-batches, prompts of one, ...]; groups stay whole."""
        size = self.settings.micro_batch
        return jax.tree.map(lambda x: x.reshape(-1, size or x.shape[0], *x.shape[1:]), tree)

    def _rank(self, old: Array, batch: RankedBatch) -> Ranked:
        """Predicted ranks by descending log-probability, then penalties and advantages."""
        log_probs = jnp.sum(old * batch.response_mask, axis=-1)
        predicted = ranks(log_probs)
        form, discount = self.settings.form, self.settings.discount
        advantages = rank_advantages(
            batch.oracle_ranks, predicted, form=form, mix=self.settings.mix, discount=discount
        )
        penalties = rank_penalties(batch.oracle_ranks, predicted, form=form, discount=discount)
        return Ranked(log_probs, predicted, advantages, penalties)

    def _gradient(
        self,
        log_prob: Any,
        batch: RankedBatch,
        ranked: Ranked,
        old: Array,
        reference: Array,
        trained: dict[str, Any],
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Gradient of the whole batch's loss, added up over micro-batches of whole groups."""
        mask = batch.response_mask & batch.valid[:, None, None]
        denominator = mask_denominator(mask, self.settings.normalisation)
        tokens = mask_denominator(mask)

        def loss(trained: dict[str, Any], part: Any) -> tuple[Array, dict[str, Array]]:
            batch, mask, advantages, old, reference = part
            current = log_prob(trained, batch)
            return self._loss(current, old, reference, advantages, mask, denominator, tokens)

        def accumulate(total: Any, part: Any) -> tuple[Any, None]:
            (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(trained, part)
            summed = jax.tree.map(jnp.add, total, (grads, metrics))
            ratio_max = jnp.maximum(total[1]["ratio/max"], metrics["ratio/max"])
            summed[1]["ratio/max"] = ratio_max  # the one metric that does not add up
            return summed, None

        parts = self._split((batch, mask, ranked.advantages, old, reference))
        shapes = jax.eval_shape(
            jax.value_and_grad(loss, has_aux=True), trained, jax.tree.map(lambda x: x[0], parts)
        )
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes[1], shapes[0][1]))
        (grads, metrics), _ = jax.lax.scan(accumulate, zeros, parts)
        return grads, metrics

    def _loss(
        self,
        current: TokenLogProbs,
        old: Array,
        reference: Array,
        advantages: Array,
        mask: Array,
        denominator: Array,
        tokens: Array,
    ) -> tuple[Array, dict[str, Array]]:
        """policy loss + kl_coefficient * KL - entropy_coefficient * entropy, of one micro-batch.

        Every term and metric is this micro-batch's share of the whole batch's mean.
        """
        settings = self.settings
        policy = clipped_policy_loss(
            current.log_prob, old, advantages, mask,
            clip_low=settings.clip_low, clip_high=settings.clip_high,
            normalisation=settings.normalisation, denominator=denominator,
        )  # fmt: skip
        divergence = kl_estimate(current.log_prob, reference, settings.kl_estimator, mask)
        kl, entropy = (
            masked_mean(values, mask, settings.normalisation, denominator)
            for values in (divergence, current.entropy)
        )
        loss = policy.loss + settings.kl_coefficient * kl - settings.entropy_coefficient * entropy
        share = policy.tokens / jnp.maximum(tokens, 1.0)
        metrics = {
            "loss": loss,
            "policy_loss": policy.loss,
            "kl": kl,
            "entropy": entropy,
            "ratio/mean": share * policy.ratio_mean,
            "ratio/max": policy.ratio_max,
            "clip/low_fraction": share * policy.clip_low_fraction,
            "clip/high_fraction": share * policy.clip_high_fraction,
        }
        return loss, jax.lax.stop_gradient(metrics)
