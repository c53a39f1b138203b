"""The two records of text that travel between data, sampler, model and update."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int


class Prompt(NamedTuple):
    """Left-padded prompts of a batch.

    Attributes:
      ids: token ids; each visual token of the video takes one `<image>` id.
      mask: False on padding.
    """

    ids: Int[Array, "B L"]
    mask: Bool[Array, "B L"]


class Responses(NamedTuple):
    """Groups of right-padded responses to the prompts of a batch.

    Attributes:
      ids: token ids.
      mask: True up to and including the end-of-sequence token.
      log_prob: of each token under the sampler, in nats; None of responses that were not sampled.
    """

    ids: Int[Array, "B G T"]
    mask: Bool[Array, "B G T"]
    log_prob: Float[Array, "B G T"] | None = None
