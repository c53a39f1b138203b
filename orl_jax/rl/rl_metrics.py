"""What an RL step says about ranks, groups, the sampler and texts; names as in `metrics.jsonl`.

Means of the jitted step are over groups with a valid ranking (0 where there is none); `of_rankings`
and `of_texts` are computed on the host.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from orl_jax.models.sequences import Responses
from orl_jax.ops.losses import PolicyLoss
from orl_jax.ops.ranking import gains, kendall_tau, ndcg, tie_fraction
from orl_jax.oracles import Ranking
from orl_jax.oracles.requests import Text
from orl_jax.rl.batch import Ranked, RolloutBatch


def of_ratio(policy: PolicyLoss, tokens: Float[Array, ""]) -> dict[str, Array]:
    """This micro-batch's share of the metrics of the ratio; `tokens` counts the whole batch."""
    share = policy.tokens / jnp.maximum(tokens, 1.0)
    return {
        "ratio/mean": share * policy.ratio_mean,
        "ratio/max": policy.ratio_max,
        "clip/low_fraction": share * policy.clip_low_fraction,
        "clip/high_fraction": share * policy.clip_high_fraction,
    }


def of_ranks(ranked: Ranked, batch: RolloutBatch) -> dict[str, Array]:
    """How well the predicted order fits the Oracle's, and the resulting advantages."""
    judgement, lengths = batch.judgement, batch.responses.mask.sum(axis=-1).astype(jnp.float32)
    valid = judgement.valid

    def mean(values: Array) -> Array:  # of [B] or [B, G]
        per_group = values.reshape(values.shape[0], -1).mean(axis=-1)
        return jnp.sum(jnp.where(valid, per_group, 0.0)) / jnp.maximum(valid.sum(), 1)

    oracle, predicted, advantages = judgement.ranks, ranked.predicted_ranks, ranked.advantages
    kept = jnp.where(valid[:, None], advantages, 0.0)
    penalties = jnp.where(valid[:, None], ranked.penalties, 0.0)
    no_signal = (oracle == oracle[:, :1]).all(axis=-1)
    return {
        "advantage/abs_mean": mean(jnp.abs(advantages)),
        "advantage/max": kept.max(),
        "advantage/min": kept.min(),
        "advantage/oracle_correlation": correlation(advantages, -oracle, valid),
        "advantage/length_correlation": correlation(advantages, lengths, valid),
        "oracle/length_correlation": correlation(gains(oracle), lengths, valid),
        "penalty/mean": mean(ranked.penalties),
        "penalty/max": penalties.max(),
        "rank/kendall_tau": mean(kendall_tau(oracle, predicted)),
        "rank/ndcg": mean(ndcg(oracle, predicted)),
        "rank/tie_fraction": mean(tie_fraction(oracle)),
        "group/no_signal_fraction": mean(no_signal.astype(jnp.float32)),
    }


def correlation(
    first: Float[Array, "B G"], second: Float[Array, "B G"], valid: Bool[Array, " B"]
) -> Float[Array, ""]:
    """Pearson's correlation within groups, over all valid ones; 0 where it is not defined.

    Between advantages and the Oracle's order, the sign says which way the update pushes: above 0,
    towards what the Oracle prefers.
    """
    weight = valid[:, None].astype(jnp.float32)
    first = (first - first.mean(axis=-1, keepdims=True)) * weight
    second = (second - second.mean(axis=-1, keepdims=True)) * weight
    scale = jnp.sqrt(jnp.sum(first**2) * jnp.sum(second**2))
    return jnp.where(scale > 0, jnp.sum(first * second) / jnp.where(scale > 0, scale, 1.0), 0.0)


def of_sampler(responses: Responses, scored: Float[Array, "B G T"]) -> dict[str, Array]:
    """How far the sampler's log-probabilities are from the training graph's (absolute, nats)."""
    mask = responses.mask
    gap = jnp.where(mask, jnp.abs(responses.log_prob - scored), 0.0)
    return {
        "sampler/logprob_gap_mean": gap.sum() / jnp.maximum(mask.sum(), 1),
        "sampler/logprob_gap_max": gap.max(),
    }


def of_rankings(rankings: Sequence[Ranking]) -> dict[str, float]:
    """How often the Oracle gave a ranking, and the seconds that it took."""
    return {
        "oracle/valid_fraction": float(np.mean([r.valid for r in rankings])),
        "oracle/seconds": float(sum(r.seconds for r in rankings)),
    }


def of_texts(texts: Sequence[Sequence[Text]], lengths: np.ndarray) -> dict[str, float]:
    """How long responses are, how many were cut off, how many of a group are different.

    Args:
      texts: of each prompt its responses.
      lengths: tokens of each response [B, G].
    """
    distinct = [len({text for text, _ in group}) / len(group) for group in texts]
    return {
        "response/length_mean": float(lengths.mean()),
        "response/truncated_fraction": float(np.mean([[t for _, t in g] for g in texts])),
        "response/distinct_fraction": float(np.mean(distinct)),
    }
