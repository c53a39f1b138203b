"""The model's view of a rollout: hidden states, log-probabilities, in micro-batches of prompts.

The one forward pass that all algorithms share, for the old, the reference and the current policy.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from orl_jax.models.vlm import VLM
from orl_jax.ops.log_probs import TokenLogProbs, exact_kl, token_log_probs
from orl_jax.ops.truncation import WHOLE, Truncation
from orl_jax.rl.batch import RolloutBatch
from orl_jax.training.accumulation import strided


class States(NamedTuple):
    """What the next-token distributions are made of: hidden states and the projection to logits."""

    hidden: Float[Array, "B G T D"]
    kernel: Float[Array, "D V"]


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Scores rollouts at the sampling temperature.

    Attributes:
      model: the VLM; parameters are arguments.
      temperature: of sampling and of all log-probabilities.
      vocabulary_chunk: positions projected to logits at a time; 0 is all.
      micro_batch: prompts at a time; 0 is all.
      adapter_trained: whether `media` are features that the adapter has yet to read.
      truncation: of the distribution that is sampled from; all log-probabilities are of it.
    """

    model: VLM
    temperature: float
    vocabulary_chunk: int = 0
    micro_batch: int = 0
    adapter_trained: bool = False
    truncation: Truncation = WHOLE

    @classmethod
    def of(cls, config: ConfigDict, model: VLM, *, adapter_trained: bool) -> "Scorer":
        """Of `config.rl` and `config.model.vocabulary_chunk`."""
        return cls(
            model=model,
            temperature=config.rl.temperature,
            vocabulary_chunk=config.model.vocabulary_chunk,
            micro_batch=config.rl.micro_batch,
            adapter_trained=adapter_trained,
            truncation=Truncation(config.rl.top_k, config.rl.top_p, config.rl.min_p),
        )

    def states(self, params: dict[str, Any], batch: RolloutBatch) -> States:
        """Of the positions that predict the response tokens."""
        visual = self.see(params, batch)
        variables = {"params": params}
        hidden = self.model.apply(
            variables, visual, batch.prompt, batch.responses, method=VLM.hidden_states
        )
        return States(hidden, self.model.apply(variables, method=VLM.vocabulary_kernel))

    def see(self, params: dict[str, Any], batch: RolloutBatch) -> Float[Array, "B N D"]:
        """The visual tokens of the batch."""
        if not self.adapter_trained:
            return batch.media
        return self.model.apply({"params": params}, batch.media, method=VLM.adapt)

    def policy_log_prob(
        self, params: dict[str, Any], banned: Bool[Array, " V"], batch: RolloutBatch
    ) -> Float[Array, "B G T"]:
        """Of the sampled tokens under the policy `params`, as constants."""

        def log_prob(part: RolloutBatch) -> Array:
            return self.log_probs(self.states(params, part), banned, part).log_prob

        return self.without_gradient(log_prob, batch)

    def log_probs(
        self, states: States, banned: Bool[Array, " V"], batch: RolloutBatch
    ) -> TokenLogProbs:
        """Of the sampled tokens, [B, G, T]."""
        return token_log_probs(
            *states, batch.responses.ids, truncation=self.truncation, **self._distribution(banned)
        )

    def exact_kl(
        self, states: States, reference: States, banned: Bool[Array, " V"]
    ) -> Float[Array, "B G T"]:
        """KL to the reference at every token, over the whole vocabulary."""
        return exact_kl(*states, *reference, **self._distribution(banned))

    def without_gradient(self, function: Callable[[RolloutBatch], Any], batch: RolloutBatch) -> Any:
        """`function` of each micro-batch, put together again: arrays [B, ...], constants."""
        return jax.lax.stop_gradient(self.join(jax.lax.map(function, self.split(batch))))

    def split(self, tree: Any) -> Any:
        """[B, ...] -> [micro-batches, prompts of one, ...]; groups stay whole.

        A micro-batch takes strided rows: where the rows are cut over devices, each device has its
        share of every micro-batch.
        """
        return jax.tree.map(lambda x: strided(x, self.micro_batch or x.shape[0]), tree)

    def join(self, tree: Any) -> Any:
        """Undoes `split`."""
        return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), tree)

    def _distribution(self, banned: Bool[Array, " V"]) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "banned": banned,
            "chunk_size": self.vocabulary_chunk,
        }
