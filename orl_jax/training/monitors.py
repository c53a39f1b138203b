"""Watches the metrics of RL and says when training goes wrong. No jax and no files here.

row -> `History` (what the windows need) -> one check per monitor -> the alarms that begin
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from orl_jax.training.checks import ADVICE, CHECKS
from orl_jax.training.history import History
from orl_jax.training.limits import Limits

NAMES = tuple(CHECKS)


class Alarm(NamedTuple):
    """What was seen, its limit in the same units, and one line with what to make of it."""

    name: str
    step: int
    value: float
    limit: float
    message: str


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
