"""The advantages of a group's responses: the algorithms `grpo_rank` and `grpo`, by their forms.

grpo_rank  reads the Oracle's ranks: signed | printed (`ops.advantages`), linear (GOPO)
grpo       reads the Oracle's scores: standardised | centred (Dr. GRPO) | leave_one_out (RLOO)
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from orl_jax.ops import advantages
from orl_jax.ops.ranking import ranks
from orl_jax.rl.batch import Ranked, RolloutBatch

SCORE_FORMS = {
    "standardised": advantages.standardised_advantages,
    "centred": advantages.centred_advantages,
    "leave_one_out": advantages.leave_one_out_advantages,
}
RANK_FORMS = (*advantages.FORMS, "linear")


@dataclasses.dataclass(frozen=True)
class Estimator:
    """Advantages of whole groups.

    Attributes:
      algorithm: "grpo_rank" or "grpo".
      form: one of `RANK_FORMS` or of `SCORE_FORMS`.
      mix, discount: of the forms "signed" and "printed"; see `ops.advantages`.

    Raises:
      ValueError: a form that the algorithm does not have.
    """

    algorithm: str = "grpo_rank"
    form: str = "signed"
    mix: float = 0.25
    discount: str = "log2"

    def __post_init__(self) -> None:
        forms = SCORE_FORMS if self.algorithm == "grpo" else RANK_FORMS
        if self.form not in forms:
            raise ValueError(
                f"unknown form {self.form!r} of {self.algorithm}; choose one of {', '.join(forms)}"
            )

    @classmethod
    def of(cls, rl: ConfigDict) -> "Estimator":
        """Of `config.rl`: `rl.grpo.form` with the algorithm grpo, else `rl.advantage`."""
        form = rl.grpo.form if rl.algorithm == "grpo" else rl.advantage.form
        return cls(rl.algorithm, form, mix=rl.advantage.mix, discount=rl.advantage.discount)

    def __call__(self, old_log_prob: Float[Array, "B G T"], batch: RolloutBatch) -> Ranked:
        """Predicted ranks by descending log-probability, then penalties and advantages."""
        log_probs, predicted, penalties = predict(old_log_prob, batch, self.form, self.discount)
        return Ranked(log_probs, predicted, self._advantages(predicted, batch), penalties)

    def _advantages(
        self, predicted: Float[Array, "B G"], batch: RolloutBatch
    ) -> Float[Array, "B G"]:
        if self.algorithm == "grpo":
            return SCORE_FORMS[self.form](batch.judgement.scores)
        if self.form == "linear":
            return advantages.linear_rank_advantages(batch.judgement.ranks)
        return advantages.rank_advantages(
            batch.judgement.ranks, predicted, form=self.form, mix=self.mix, discount=self.discount
        )


def predict(
    old_log_prob: Float[Array, "B G T"],
    batch: RolloutBatch,
    form: str = "signed",
    discount: str = "log2",
) -> tuple[Float[Array, "B G"], Float[Array, "B G"], Float[Array, "B G"]]:
    """Log-probabilities of the responses, their predicted ranks, and the penalties of these.

    Every algorithm logs the penalties as a measure: those of the printed form where that is used,
    else those of the signed one.
    """
    log_probs = jnp.sum(old_log_prob * batch.responses.mask, axis=-1)
    predicted = ranks(log_probs)
    penalties = advantages.rank_penalties(
        batch.judgement.ranks,
        predicted,
        form="printed" if form == "printed" else "signed",
        discount=discount,
    )
    return log_probs, predicted, penalties
