"""Watches the metrics of RL and says when training goes wrong. No jax and no files here.

    row -> `History` (what the windows need) -> one check per monitor -> the alarms that begin

The failures are those that Oracle-RLAIF names (advantages that collapse or explode, drift, lower
accuracy on some task types; arXiv 2510.02561) and those caused by its printed form, by failing
Oracles and by mismatched samplers. Names: `docs/metrics.md`. Thresholds: `Limits`.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any, NamedTuple

from orl_jax.training.limits import Limits

NO_SIGNAL = "group/no_signal_fraction"
SIZE = "advantage/abs_mean"
LENGTH = "response/length_mean"
VALID = "oracle/valid_fraction"
DIRECTION = "advantage/oracle_correlation"
CATEGORY = "validation/category/"

AVERAGED = (NO_SIGNAL, SIZE, LENGTH, VALID, "kl", "entropy")
# These are 0 for want of anything to average where the Oracle ranked no group of the step.
NEED_A_RANKING = ("kl", "entropy", "advantage/", "group/")


class Alarm(NamedTuple):
    """What was seen, its limit in the same units, and one line with what to make of it."""

    name: str
    step: int
    value: float
    limit: float
    message: str


class Reading(NamedTuple):
    """What a check sees, in numbers and words; `subject` distinguishes its several readings."""

    value: float
    limit: float
    beyond: bool
    seen: str
    subject: str = ""


class History:
    """What the checks need of the rows so far.

    Attributes:
      window: logged values of a metric that a mean is taken over.
      row: the numbers of the newest row, without those that say nothing.
      recent: the last `window` values of each averaged metric.
      first: the mean of each over its first window, once that is full.
      before: the first validation accuracy of each task type.
    """

    def __init__(self, window: int):
        self.window = window
        self.row: dict[str, float] = {}
        self.recent: dict[str, deque[float]] = {name: deque(maxlen=window) for name in AVERAGED}
        self.first: dict[str, float] = {}
        self.before: dict[str, float] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Takes in a row; its names may be any."""
        skipped = NEED_A_RANKING if values.get(VALID) == 0 else ()
        # Whatever is not finite counts as infinite: `metrics.jsonl` does not distinguish either.
        self.row = {
            name: float(value) if math.isfinite(value) else math.inf
            for name, value in values.items()
            if not name.startswith(skipped)
        }
        for name, value in self.row.items():
            if name in self.recent:
                self.recent[name].append(value)
                mean = self.mean(name)
                if mean is not None and mean < math.inf:
                    self.first.setdefault(name, mean)
            elif name.startswith(CATEGORY):
                self.before.setdefault(name, value)

    def mean(self, name: str) -> float | None:
        """Over the window; `None` until it is full, infinite once a value isn't finite."""
        values = self.recent[name]
        if math.inf in values:
            return math.inf
        return fmean(values) if len(values) == self.window else None

    def averaged(self, name: str, unit: str = "") -> str:
        """How a message names a mean over the window."""
        return f"{name} ({unit}mean of {self.window} steps)"


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
    "length_drift": "The Oracle may prefer length itself: read rollouts/ and its rankings there",
    "wrong_direction": "The update pushes away from what the Oracle prefers, as the printed form "
    "does: take rl.advantage.form=signed, or check the Oracle's ranks (0 is best)",
    "type_fall": "Other task types gain at the cost of this one: raise rl.kl_coefficient, give it "
    "more prompts, or check how the Oracle ranks it",
    "oracle_failing": "Groups without a valid ranking train nothing: rollouts/ has the reasons",
    "sampler_mismatch": "What is sampled is not the policy that is trained: compare number types, "
    "temperature and banned tokens",
}
NAMES = tuple(CHECKS)


class Monitors:
    """The monitors of a run: they see each row and say which alarms begin with it.

    An alarm begins once, and again only after it has cleared. A row without a monitor's metrics
    (rows of validation, other algorithms) leaves the monitor as it was. A value that is not finite
    counts as above every limit.

    Args:
      limits: see `Limits`.

    Attributes:
      stop_on: names of monitors whose alarms should stop training.

    Example:

        monitors = Monitors(Limits.of(config.monitors))
        monitors.replay(read_metrics("runs/demo", "rl"))
        for alarm in monitors.observe(7, {"advantage/oracle_correlation": -0.4}):
            print(alarm.message)
    """

    def __init__(self, limits: Limits):
        self.stop_on = tuple(limits.stop_on)
        self._limits = limits
        self.replay([])

    @property
    def active(self) -> int:
        """How many alarms are on; each task type that has fallen counts."""
        return len(self._on)

    def observe(self, step: int, values: Mapping[str, Any]) -> list[Alarm]:
        """Takes in a row, of scalars on the host, and returns the alarms that begin with it."""
        self._history.add(values)
        return [alarm for name in NAMES for alarm in self._begun(name, step)]

    def replay(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Starts again with the rows of the steps so far, as `read_metrics` gives them."""
        self._history = History(self._limits.window)
        self._on: set[tuple[str, str]] = set()
        for row in rows:
            self.observe(row["step"], {name: row[name] for name in row if name != "stage"})

    def _begun(self, name: str, step: int) -> Iterator[Alarm]:
        for value, limit, beyond, seen, subject in CHECKS[name](self._history, self._limits):
            if not beyond:
                self._on.discard((name, subject))
            elif (name, subject) not in self._on:
                self._on.add((name, subject))
                words = f"{name} at step {step}: {seen}. {ADVICE[name]}."
                yield Alarm(name, step, value, limit, words)
