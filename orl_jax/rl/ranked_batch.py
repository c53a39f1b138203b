"""What an update step takes of a rollout, and what it makes of each response."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int


class RankedBatch(NamedTuple):
    """A rollout with the Oracle's ranks; the groups of all prompts are whole.

    `media` are visual tokens [B, N, D], or features [B, F, P, E] where the adapter is trained.
    `scores` are the Oracle's scalar scores; zeros where it gives none or the ranking is invalid.
    `old_log_prob` are those of the policy that has sampled, in the training graph; None where that
    is the policy before the update, which then scores them itself.
    """

    media: Float[Array, "B ..."]
    prompt_ids: Int[Array, "B L"]
    prompt_mask: Bool[Array, "B L"]
    response_ids: Int[Array, "B G T"]
    response_mask: Bool[Array, "B G T"]
    rollout_log_prob: Float[Array, "B G T"]
    oracle_ranks: Float[Array, "B G"]
    scores: Float[Array, "B G"]
    valid: Bool[Array, " B"]
    old_log_prob: Float[Array, "B G T"] | None = None

    def kept(self) -> Bool[Array, "B G T"]:
        """Tokens that count: of responses, in groups with a valid ranking."""
        return self.response_mask & self.valid[:, None, None]


class Ranked(NamedTuple):
    """What the step makes of each response, for the table of rollouts; all [B, G]."""

    log_probs: Float[Array, "B G"]
    predicted_ranks: Float[Array, "B G"]
    advantages: Float[Array, "B G"]
    penalties: Float[Array, "B G"]
