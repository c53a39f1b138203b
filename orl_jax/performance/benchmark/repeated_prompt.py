"""The update without a shared prompt, only for comparison: each response has its own copy.

This is what libraries with rows instead of groups do: G x (P + R) tokens per prompt, not P + G x R.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from orl_jax.rl.batch import RolloutBatch
from orl_jax.rl.scorer import Scorer, States


@dataclasses.dataclass(frozen=True)
class RepeatedScorer(Scorer):
    """Scores each response after its own copy of the prompt."""

    def states(self, params: dict[str, Any], batch: RolloutBatch) -> States:
        """The same numbers as `Scorer.states`."""
        prompts, group, length = batch.responses.ids.shape
        media, prompt = jax.tree.map(
            lambda x: jnp.repeat(x, group, axis=0), (batch.media, batch.prompt)
        )
        responses = jax.tree.map(lambda x: x.reshape(prompts * group, 1, length), batch.responses)
        hidden, kernel = super().states(params, RolloutBatch(media, prompt, responses))
        return States(hidden.reshape(prompts, group, length, -1), kernel)
