"""The update without a shared prompt, for comparison alone: each answer brings its own copy.

What a library does that knows rows and no groups: G x (P + R) tokens a prompt, not P + G x R.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp

from orl_jax.rl.grpo_rank import GrpoRank
from orl_jax.rl.ranked_batch import RankedBatch
from orl_jax.rl.scorer import Scorer, States


@dataclasses.dataclass(frozen=True)
class RepeatedScorer(Scorer):
    """Scores each answer behind a copy of its prompt."""

    def states(self, params: dict[str, Any], batch: RankedBatch) -> States:
        """As `Scorer.states`, the same numbers."""
        prompts, group, length = batch.response_ids.shape
        copies = (jnp.repeat(x, group, axis=0) for x in batch[:3])
        answers = (x.reshape(prompts * group, 1, length) for x in batch[3:5])
        hidden, kernel = super().states(params, batch._replace(**_named(copies, answers)))
        return States(hidden.reshape(prompts, group, length, -1), kernel)


def _named(copies: Any, answers: Any) -> dict[str, Any]:
    return dict(zip(RankedBatch._fields, (*copies, *answers), strict=False))


@dataclasses.dataclass(frozen=True)
class RepeatedGrpoRank(GrpoRank):
    """`GrpoRank` with a `RepeatedScorer`."""

    def _scorer(self) -> Scorer:
        return RepeatedScorer(**vars(super()._scorer()))
