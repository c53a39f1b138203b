"""The algorithm `direct`: the policy learns from the Oracle's order itself, without advantages.

It takes the same step as GRPO_rank (`grpo_rank.py`), with a loss of `ops.direct_losses` in place of
the clipped policy loss. What the loss pushes each response by is reported as its advantage, so that
metrics and monitors mean the same.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from orl_jax.ops import direct_losses
from orl_jax.ops.losses import response_sum
from orl_jax.rl.batch import Judgement, RolloutBatch

LOSSES = {
    "dpo": direct_losses.dpo_loss,
    "best_worst_dpo": direct_losses.best_worst_dpo_loss,
    "list_dpo": direct_losses.list_dpo_loss,
    "lipo": direct_losses.lipo_loss,
    "best_of": direct_losses.best_of_loss,
}


class Pushed(NamedTuple):
    """The sum of the groups' losses, and -d loss / d log pi of each response, per group."""

    loss: Float[Array, ""]
    advantages: Float[Array, "B G"]


@dataclasses.dataclass(frozen=True)
class DirectLoss:
    """A loss of whole groups in the Oracle's order.

    Attributes:
      loss: one of `LOSSES`.
      beta: of all but "best_of": how strongly the reference holds.

    Raises:
      ValueError: an unknown loss.

    Example: `DirectLoss("list_dpo", beta=0.1)(log_prob, ref_log_prob, batch).loss`.
    """

    loss: str = "dpo"
    beta: float = 0.1

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}; choose one of {', '.join(LOSSES)}")

    @classmethod
    def of(cls, rl: ConfigDict) -> "DirectLoss | None":
        """Of `config.rl.direct`; None with another algorithm."""
        return cls(rl.direct.loss, rl.direct.beta) if rl.algorithm == "direct" else None

    @property
    def reads_reference(self) -> bool:
        """Whether it needs log-probabilities under the reference."""
        return self.loss != "best_of"

    def __call__(
        self,
        log_prob: Float[Array, "B G T"],
        ref_log_prob: Float[Array, "B G T"] | None,
        batch: RolloutBatch,
    ) -> Pushed:
        """Sum over the groups with an order; divide by `groups_with_order` of the whole batch."""
        tokens = jnp.maximum(batch.responses.mask.sum(axis=-1), 1)

        def total(sums: Float[Array, "B G"]) -> Float[Array, ""]:
            if self.loss == "best_of":
                losses = direct_losses.best_of_loss(sums / tokens, batch.judgement.ranks)
            else:
                losses = LOSSES[self.loss](sums, batch.judgement.ranks, self.beta)
            return jnp.sum(jnp.where(_ordered(batch.judgement), losses, 0.0))

        ratio = log_prob - ref_log_prob if self.reads_reference else log_prob
        sums = response_sum(ratio, batch.responses.mask)
        return Pushed(total(sums), -jax.grad(total)(jax.lax.stop_gradient(sums)))


def groups_with_order(judgement: Judgement) -> Float[Array, ""]:
    """How many groups have a valid ranking that prefers any response to another."""
    return jnp.sum(_ordered(judgement), dtype=jnp.float32)


def _ordered(judgement: Judgement) -> Bool[Array, " B"]:
    return judgement.valid & direct_losses.has_order(judgement.ranks)
