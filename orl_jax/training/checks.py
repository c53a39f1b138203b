"""One check for each monitor: what it sees in the history, its limit, and what to make of it.

The failures are those that Oracle-RLAIF names (advantages that collapse or explode, drift, lower
accuracy on some task types; arXiv 2510.02561) and those caused by its printed form, by its
predicted order, by failing Oracles and by mismatched samplers. Names: `docs/metrics.md`.
Thresholds: `Limits`.
"""

import math
from typing import NamedTuple

from orl_jax.training.history import (
    DIRECTION,
    LENGTH,
    LIKED_LENGTH,
    NO_SIGNAL,
    PAID_LENGTH,
    SIZE,
    VALID,
    History,
)
from orl_jax.training.limits import Limits


class Reading(NamedTuple):
    """What a check sees, in numbers and words; `subject` distinguishes its several readings."""

    value: float
    limit: float
    beyond: bool
    seen: str
    subject: str = ""


def _above(value: float | None, limit: float, what: str) -> list[Reading]:
    """Nothing to say without a value, or where the limit is 0, which means off."""
    if value is None or not limit:
        return []
    shown = f"{value:.3g}" if math.isfinite(value) else "not finite"
    return [Reading(value, limit, value > limit, f"{what} is {shown}, above {limit:.3g}")]


def _below(value: float | None, limit: float, what: str, subject: str = "") -> list[Reading]:
    """Nothing to say without a value. A limit of 0 switches off what cannot be negative."""
    if value is None:
        return []
    words = f"{what} is {value:.3g}, below {limit:.3g}"
    return [Reading(value, limit, value < limit, words, subject)]


def _one(readings: list[Reading]) -> list[Reading]:
    """Of several signs of one failure the one that is beyond its limit, else any."""
    return sorted(readings, key=lambda reading: not reading.beyond)[:1]


def _advantage_collapse(history: History, limits: Limits) -> list[Reading]:
    return _one(
        _above(history.mean(NO_SIGNAL), limits.no_signal_fraction, history.averaged(NO_SIGNAL))
        + _below(history.mean(SIZE), limits.advantage_floor, history.averaged(SIZE))
    )


def _advantage_explosion(history: History, limits: Limits) -> list[Reading]:
    ends = [abs(history.row[n]) for n in ("advantage/max", "advantage/min") if n in history.row]
    return _above(max(ends, default=None), limits.advantage_limit, "the largest advantage")


def _policy_drift(history: History, limits: Limits) -> list[Reading]:
    return _above(history.mean("kl"), limits.kl_limit, history.averaged("kl", "nats per token, "))


def _entropy_collapse(history: History, limits: Limits) -> list[Reading]:
    floor = limits.entropy_share * history.first.get("entropy", 0.0)
    return _below(history.mean("entropy"), floor, history.averaged("entropy", "nats per token, "))


def _length_drift(history: History, limits: Limits) -> list[Reading]:
    first, factor = history.first.get(LENGTH), limits.length_factor
    if first is None or not factor:
        return []
    now, what = history.mean(LENGTH), history.averaged(LENGTH, "tokens, ")
    return _one(_above(now, first * factor, what) + _below(now, first / factor, what))


def _advantage_length(history: History, limits: Limits) -> list[Reading]:
    """The advantage pays for length by itself: by more than the Oracle does."""
    paid, liked, floor = history.mean(PAID_LENGTH), history.mean(LIKED_LENGTH), limits.paid_length
    if paid is None or liked is None or not floor:
        return []
    finite = math.isfinite(paid) and math.isfinite(liked)
    own, limit = (paid - liked, max(floor, abs(liked))) if finite else (math.inf, floor)
    words = (
        f"{history.averaged(PAID_LENGTH)} is {paid:+.3g}, the Oracle's own {liked:+.3g}: "
        f"a difference beyond {limit:.3g}"
    )
    return [Reading(own, limit, abs(own) > limit, words)]


def _oracle_length(history: History, limits: Limits) -> list[Reading]:
    liked, limit = history.mean(LIKED_LENGTH), limits.liked_length
    if liked is None or not limit:
        return []
    words = f"{history.averaged(LIKED_LENGTH)} is {liked:+.3g}, beyond {limit:.3g}"
    return [Reading(liked, limit, abs(liked) > limit, words)]


def _wrong_direction(history: History, limits: Limits) -> list[Reading]:
    tied = history.row.get(NO_SIGNAL, 0.0) >= 1  # then there is no order to go against
    return [] if tied else _below(history.row.get(DIRECTION), limits.direction_floor, DIRECTION)


def _type_fall(history: History, limits: Limits) -> list[Reading]:
    fall = limits.type_fall or math.inf  # 0 is off
    return [
        reading
        for name in sorted(history.before.keys() & history.row.keys())
        for reading in _below(history.row[name], history.before[name] - fall, name, subject=name)
    ]


def _oracle_failing(history: History, limits: Limits) -> list[Reading]:
    return _below(history.mean(VALID), limits.valid_floor, history.averaged(VALID))


def _sampler_mismatch(history: History, limits: Limits) -> list[Reading]:
    name = "sampler/logprob_gap_mean"
    return _above(history.row.get(name), limits.gap_limit, f"{name} (nats)")


CHECKS = {
    "advantage_collapse": _advantage_collapse,
    "advantage_explosion": _advantage_explosion,
    "policy_drift": _policy_drift,
    "entropy_collapse": _entropy_collapse,
    "length_drift": _length_drift,
    "advantage_length": _advantage_length,
    "oracle_length": _oracle_length,
    "wrong_direction": _wrong_direction,
    "type_fall": _type_fall,
    "oracle_failing": _oracle_failing,
    "sampler_mismatch": _sampler_mismatch,
}
# What an alarm usually means, and what to try.
ADVICE = {
    "advantage_collapse": "The Oracle has little left to choose between: raise rl.temperature or "
    "rl.entropy_coefficient, take harder prompts or a finer Oracle, or stop here",
    "advantage_explosion": "A few answers dominate the update: look for outliers in rollouts/, or "
    "take rl.algorithm=grpo_rank with rl.advantage.form=signed, whose advantages are bounded",
    "policy_drift": "The policy is far from its reference: lower rl.learning_rate or raise "
    "rl.kl_coefficient (of ppo: rl.ppo.kl_reward)",
    "entropy_collapse": "The policy says nearly the same whatever it samples: raise "
    "rl.entropy_coefficient or rl.kl_coefficient, or lower rl.learning_rate",
    "length_drift": "Either the Oracle prefers length or the advantage pays for it: the means of "
    "oracle/length_correlation and advantage/length_correlation tell which, rollouts/ shows it",
    "advantage_length": "The advantage itself pays for length (below 0: for shortness), whatever "
    "the Oracle prefers: take rl.advantage.mix=0 or rl.advantage.predicted=ratio",
    "oracle_length": "The Oracle prefers long answers (below 0: short ones). If not for their "
    "content, audit it, or name length in its instructions; rl.advantage cannot mend this",
    "wrong_direction": "The update pushes away from what the Oracle prefers, as the printed form "
    "does: take rl.advantage.form=signed, or check the Oracle's ranks (0 is best)",
    "type_fall": "Other task types gain at the cost of this one: raise rl.kl_coefficient, give it "
    "more prompts, or check how the Oracle ranks it",
    "oracle_failing": "Groups without a valid ranking train nothing: rollouts/ has the reasons",
    "sampler_mismatch": "What is sampled is not the policy that is trained: compare number types, "
    "temperature and banned tokens",
}
