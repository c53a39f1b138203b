"""The advantages of a group's responses: the algorithms `grpo_rank` and `grpo`, by their forms.

grpo_rank  reads the Oracle's ranks: signed | printed (`ops.advantages`), linear (GOPO), zscore
grpo       reads the Oracle's scores: standardised | centred (Dr. GRPO) | leave_one_out (RLOO)
"""

import dataclasses

from jaxtyping import Array, Float
from ml_collections import ConfigDict

from orl_jax.ops import advantages
from orl_jax.ops.losses import response_sum
from orl_jax.ops.predicted_order import PREDICTED, predicted_ranks
from orl_jax.rl.batch import Ranked, RolloutBatch

SCORE_FORMS = {
    "standardised": advantages.standardised_advantages,
    "centred": advantages.centred_advantages,
    "leave_one_out": advantages.leave_one_out_advantages,
}
RANK_FORMS = (*advantages.FORMS, "linear", "zscore")


@dataclasses.dataclass(frozen=True)
class Estimator:
    """Advantages of whole groups.

    Attributes:
      algorithm: "grpo_rank" or "grpo".
      form: one of `RANK_FORMS` or of `SCORE_FORMS`.
      mix, discount: of the forms "signed" and "printed"; see `ops.advantages`.
      predicted: what the policy's own order is made of; see `ops.predicted_order`.

    Raises:
      ValueError: a form that the algorithm does not have, or an unknown predicted order.
    """

    algorithm: str = "grpo_rank"
    form: str = "signed"
    mix: float = 0.0
    discount: str = "log2"
    predicted: str = "sum"

    def __post_init__(self) -> None:
        forms = SCORE_FORMS if self.algorithm == "grpo" else RANK_FORMS
        if self.form not in forms:
            raise ValueError(
                f"unknown form {self.form!r} of {self.algorithm}; choose one of {', '.join(forms)}"
            )
        if self.predicted not in PREDICTED:
            raise ValueError(
                f"unknown predicted order {self.predicted!r}; choose one of {', '.join(PREDICTED)}"
            )

    @classmethod
    def of(cls, rl: ConfigDict) -> "Estimator":
        """Of `config.rl`: `rl.grpo.form` with the algorithm grpo, else `rl.advantage`.

        With the algorithm direct, which needs no advantages, these say what is logged.
        """
        form = rl.grpo.form if rl.algorithm == "grpo" else rl.advantage.form
        algorithm = "grpo" if rl.algorithm == "grpo" else "grpo_rank"
        own = rl.advantage
        return cls(algorithm, form, own.mix, own.discount, own.predicted)

    def __call__(
        self,
        old_log_prob: Float[Array, "B G T"],
        batch: RolloutBatch,
        ref_log_prob: Float[Array, "B G T"] | None = None,
    ) -> Ranked:
        """Predicted ranks, then penalties and advantages.

        Args:
          ref_log_prob: under the reference; only the predicted order "ratio" needs it.
        """
        mask = batch.responses.mask
        predicted = predicted_ranks(old_log_prob, mask, self.predicted, ref_log_prob)
        penalties = penalties_of(predicted, batch, self.form, self.discount)
        log_probs, own = response_sum(old_log_prob, mask), self._advantages(predicted, batch)
        return Ranked(log_probs, predicted, own, penalties)

    def _advantages(
        self, predicted: Float[Array, "B G"], batch: RolloutBatch
    ) -> Float[Array, "B G"]:
        if self.algorithm == "grpo":
            return SCORE_FORMS[self.form](batch.judgement.scores)
        if self.form == "linear":
            return advantages.linear_rank_advantages(batch.judgement.ranks)
        if self.form == "zscore":
            return advantages.standardised_advantages(-batch.judgement.ranks)
        return advantages.rank_advantages(
            batch.judgement.ranks, predicted, form=self.form, mix=self.mix, discount=self.discount
        )


def penalties_of(
    predicted: Float[Array, "B G"],
    batch: RolloutBatch,
    form: str = "signed",
    discount: str = "log2",
) -> Float[Array, "B G"]:
    """The penalties of the predicted ranks, which every algorithm logs as a measure.

    Those of the printed form where that is used, else those of the signed one.
    """
    return advantages.rank_penalties(
        batch.judgement.ranks,
        predicted,
        form="printed" if form == "printed" else "signed",
        discount=discount,
    )
