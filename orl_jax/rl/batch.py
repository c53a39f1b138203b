"""What an update step takes of a rollout, and what it makes of each response."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float

from orl_jax.models.sequences import Prompt, Responses
from orl_jax.oracles import Ranking


class Judgement(NamedTuple):
    """What the Oracle says about the groups of a batch.

    Attributes:
      ranks: 0 is best; ties share their mean rank.
      scores: zeros where the Oracle gives none or the ranking is invalid.
      valid: False where the Oracle gave no ranking; such a group trains nothing.
    """

    ranks: Float[Array, "B G"]
    scores: Float[Array, "B G"]
    valid: Bool[Array, " B"]

    @classmethod
    def of(cls, rankings: Sequence[Ranking]) -> "Judgement":
        """Of one ranking a group, on the host.

        Example: `Judgement.of([Ranking.from_scores([1.0, 3.0])]).ranks` is [[1, 0]].
        """
        return cls(
            ranks=np.array([r.ranks for r in rankings], np.float32),
            scores=np.array([r.scores or (0.0,) * len(r.ranks) for r in rankings], np.float32),
            valid=np.array([r.valid for r in rankings]),
        )


class RolloutBatch(NamedTuple):
    """A rollout: prompts with their groups of responses, all groups whole.

    Attributes:
      media: visual tokens [B, N, D], or features [B, F, P, E] where the adapter is trained.
      prompt, responses: the text, with the sampler's log-probabilities.
      judgement: the Oracle's; None until it has answered.
      old_log_prob: of the policy that sampled the responses, in the training graph; None where
        that is the policy before the update, which then scores them itself.
      counted: which responses train; None is all. The others are ranked and paid like all, and
        left out of every sum over tokens.
    """

    media: Float[Array, "B ..."]
    prompt: Prompt
    responses: Responses
    judgement: Judgement | None = None
    old_log_prob: Float[Array, "B G T"] | None = None
    counted: Bool[Array, "B G"] | None = None

    def kept(self) -> Bool[Array, "B G T"]:
        """Tokens that count: of counted responses, in groups with a valid ranking."""
        kept = self.responses.mask & self.judgement.valid[:, None, None]
        return kept if self.counted is None else kept & self.counted[..., None]


class Ranked(NamedTuple):
    """What the step makes of each response, for the table of rollouts; all [B, G]."""

    log_probs: Float[Array, "B G"]
    predicted_ranks: Float[Array, "B G"]
    advantages: Float[Array, "B G"]
    penalties: Float[Array, "B G"]
