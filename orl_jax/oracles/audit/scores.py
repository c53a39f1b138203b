"""What one group says about the Oracle: a number per measure, NaN where it says nothing."""

import math
from collections.abc import Sequence

import numpy as np

from orl_jax.oracles.audit import agreement, transitivity
from orl_jax.oracles.audit.agreement import is_flat, mean_of
from orl_jax.oracles.audit.asking import Reply
from orl_jax.oracles.audit.bias import length_bias
from orl_jax.oracles.audit.sample import Case, different
from orl_jax.oracles.baselines import words
from orl_jax.report.statistics import Limits

# In the order of the tables: name -> what is said of it.
MEASURES = {
    "tau": "tau-b with the truth",
    "pair_accuracy": "pairs ordered right",
    "top1": "top-1",
    "top1_chance": "top-1 by chance",
    "self_tau": "tau-b with itself, reordered",
    "self_top1": "top-1 with itself, reordered",
    "length_bias": "length bias beyond the truth's",
    "length_own": "length, rho of the Oracle",
    "length_truth": "length, rho of the truth",
    "transitive": "triples without a cycle",
    "pairwise": "pairs asked one by one, as in the list",
    "tied_pairs": "tied pairs",
    "truth_tied_pairs": "tied pairs of the truth",
    "tied_whole": "groups tied completely",
    "same_apart": "same answers ranked apart",
    "invalid": "asks without a ranking",
}
# The smallest and the largest value of a group's measure, where these are not 0 and 1.
_LIMITS = dict.fromkeys(("tau", "self_tau", "length_own", "length_truth"), (-1.0, 1.0))
_LIMITS |= {"length_bias": (-2.0, 2.0)}
Scores = dict[str, float]


def limits(measure: str) -> Limits:
    """The smallest and the largest value that a group can have.

    Example: `limits("tau") == (-1.0, 1.0)`.
    """
    return _LIMITS.get(measure, (0.0, 1.0))


def scores(case: Case, listwise: Sequence[Reply], pairwise: Sequence[Reply] = ()) -> Scores:
    """Every measure of one group, each the mean over its asks.

    Example: `scores(case, replies)["tau"]`.
    """
    orders = [reply.ranks for reply in listwise if reply.ranking.valid]
    own = {
        "self_tau": agreement.self_tau(orders),
        "self_top1": agreement.self_top1(orders),
        "tied_pairs": mean_of([_tied_pairs(ranks) for ranks in orders]),
        "tied_whole": mean_of([float(is_flat(ranks)) for ranks in orders]),
        "same_apart": mean_of([_same_apart(case, ranks) for ranks in orders]),
        "invalid": mean_of([float(not reply.ranking.valid) for reply in listwise]),
    }
    return (
        dict.fromkeys(MEASURES, math.nan)
        | own
        | _against_truth(case, orders)
        | _of_length(case, orders)
        | _of_pairs(pairwise, orders)
    )


def why_no_tau(case: Case, replies: Sequence[Reply]) -> str:
    """Why a group has no tau with the truth; "" where it has one."""
    orders = [reply.ranks for reply in replies if reply.ranking.valid]
    if case.truth is None:
        return "no truth"
    if is_flat(case.truth.ranks):
        return "the truth ties all"
    if not orders:
        return "no ranking"
    return "the Oracle ties all" if all(map(is_flat, orders)) else ""


def _against_truth(case: Case, orders: Sequence[np.ndarray]) -> Scores:
    if case.truth is None:
        return {}
    truth, tied = case.truth.ranks, _tied_pairs(case.truth.ranks)
    if is_flat(truth) or not orders:
        return {"truth_tied_pairs": tied}
    return {
        "truth_tied_pairs": tied,
        "tau": mean_of([agreement.tau(truth, ranks) for ranks in orders]),
        "pair_accuracy": mean_of([agreement.pair_accuracy(truth, ranks) for ranks in orders]),
        "top1": mean_of([agreement.top1(truth, ranks) for ranks in orders]),
        "top1_chance": agreement.chance(truth),
    }


def _of_length(case: Case, orders: Sequence[np.ndarray]) -> Scores:
    lengths = [words(text) for text in case.request.responses]
    own = mean_of([length_bias(ranks, lengths) for ranks in orders])
    truth = length_bias(case.truth.ranks, lengths) if case.truth else math.nan
    return {"length_own": own, "length_truth": truth, "length_bias": own - truth}


def _of_pairs(pairwise: Sequence[Reply], orders: Sequence[np.ndarray]) -> Scores:
    preferred = transitivity.preferences(pairwise)
    agreed = [transitivity.listwise_agreement(preferred, ranks) for ranks in orders]
    return {
        "transitive": transitivity.transitive_share(preferred),
        "pairwise": mean_of(agreed),
    }


def _tied_pairs(ranks: Sequence[float]) -> float:
    return float((agreement.pair_signs(ranks) == 0).mean())


def _same_apart(case: Case, ranks: np.ndarray) -> float:
    """Of the pairs of identical answers, the share that is not tied."""
    firsts = different(case.request)
    answers = list(zip(case.request.responses, case.request.truncated, strict=True))
    first = {answers[index]: index for index in firsts}
    twins = [
        float(ranks[index] != ranks[first[answer]])
        for index, answer in enumerate(answers)
        if index not in firsts
    ]
    return mean_of(twins)
