"""The policy's own order of a group's responses, which GRPO_rank compares with the Oracle's."""

from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from orl_jax.ops.losses import response_sum
from orl_jax.ops.ranking import ranks

PREDICTED = ("sum", "mean", "ratio")


def predicted_ranks(
    log_prob: Float[Array, "*batch G T"],
    mask: Bool[ArrayLike, "*batch G T"],
    by: str = "sum",
    ref_log_prob: Float[Array, "*batch G T"] | None = None,
) -> Float[Array, "*batch G"]:
    """Rank of every response in the order that the policy predicts; 0 is the likeliest.

      sum:   by sum_t log pi, as in the paper. Among answers of different lengths this is mostly an
             order by length: the longest comes last, whatever it says.
      mean:  by the mean over the response's tokens. Turns the dependence on length around: a few
             certain tokens beat many.
      ratio: by sum_t (log pi - log pi_ref), the implicit reward of DPO (arXiv 2305.18290, without
             beta). Does not depend on length; before the first update all responses are equal.

    Args:
      log_prob: of the sampled tokens; values outside the mask are ignored.
      mask: true on response tokens. A response without tokens has the sum 0 and the mean 0.
      by: "sum", "mean" or "ratio". Static under `jit`.
      ref_log_prob: under the reference policy; "ratio" needs it.

    Returns:
      float32 ranks, ties share their mean rank; see `ranking.ranks`.

    Raises:
      ValueError: an unknown `by`, or "ratio" without `ref_log_prob`.

    Example: log-probabilities (-1, -1, -1) and (-2,), the latter of one token: the sums -3 and -2
    give the ranks [1, 0], the means -1 and -2 give [0, 1].
    """
    if by not in PREDICTED:
        raise ValueError(f"unknown predicted order {by!r}; choose one of {', '.join(PREDICTED)}")
    if by == "ratio":
        if ref_log_prob is None:
            raise ValueError("the predicted order 'ratio' needs ref_log_prob")
        return ranks(response_sum(log_prob - ref_log_prob, mask))
    total = response_sum(log_prob, mask)
    if by == "sum":
        return ranks(total)
    return ranks(total / response_sum(mask.astype(total.dtype), mask).clip(1))
