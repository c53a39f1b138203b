"""How training asks its Oracle: when it needs the answer, or in the background while it works.

Either way in a thread of its own: training can be stopped while an Oracle takes its time.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from orl_jax.oracles import Oracle, Ranking, RankRequest, ask, ask_again
from orl_jax.oracles.protocol import cancel
from orl_jax.run import processes, stop
from orl_jax.run.background import Background, Pending
from orl_jax.run.errors import TrainingHalted
from orl_jax.run.stop import StopRequested


@dataclasses.dataclass(frozen=True)
class AskingSettings:
    """How an Oracle is asked.

    Attributes:
      policy: of a failing Oracle: "skip" its groups | "raise".
      halt_above: training halts where a larger share of the groups has no ranking; 1 never halts.
      pause_seconds: before the groups without a ranking are asked about once more.
      background: whether it is asked as soon as `Asker.begin` is called; else it is asked when the
        answer is needed.
    """

    policy: str = "skip"
    halt_above: float = 1.0
    pause_seconds: float = 30.0
    background: bool = False

    @classmethod
    def of(cls, oracle: ConfigDict) -> "AskingSettings":
        """Of `config.oracle`: in the background where the device has work to do in that time."""
        background = bool(oracle.lag or oracle.overlap)
        return cls(oracle.policy, oracle.halt_above, oracle.pause_seconds, background)


class Answer(NamedTuple):
    """The Oracle's rankings of a step's groups, and metrics about itself."""

    rankings: list[Ranking]
    stats: dict[str, float]


class Asker:
    """Asks an Oracle about the groups of one step after another; close it, or use it with `with`.

    Args:
      oracle: is called from one thread at a time.
      settings: see `AskingSettings`.
    """

    def __init__(self, oracle: Oracle, settings: AskingSettings = AskingSettings()) -> None:
        self._oracle = oracle
        self._settings = settings
        self._thread = Background("oracle")

    def begin(self, requests: Sequence[RankRequest]) -> Callable[[], Answer]:
        """Asks; what it returns waits for the answer, and is to be called by the main thread.

        That raises `TrainingHalted` where too many groups have no ranking
        (`AskingSettings.halt_above`), `StopRequested` where a signal ended the call, or came and
        the Oracle is still not done some seconds later, and what `ask` raises.

        Example: `asker.begin(requests)().rankings`.
        """
        if not self._settings.background:
            return lambda: self._checked(requests, self._thread.start(self._ask, requests))
        asked = self._thread.start(self._ask, requests)
        return lambda: self._checked(requests, asked)

    def close(self) -> None:
        """Drops questions that have not been asked yet, and ends those that can be ended."""
        cancel(self._oracle)
        self._thread.close()

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, requests: Sequence[RankRequest]) -> Answer:
        rankings = ask(self._oracle, requests, self._settings.policy)
        return Answer(rankings, self._stats())

    def _checked(self, requests: Sequence[RankRequest], asked: Pending[Answer]) -> Answer:
        limit, pause = self._settings.halt_above, self._settings.pause_seconds
        answer = _all_or_stop(asked)
        if _invalid_share(answer.rankings) <= limit:
            return answer
        logging.warning("asking the Oracle again in %g seconds", pause)
        stop.sleep(pause)
        rankings = _all_or_stop(self._again(requests, answer)).rankings
        if (share := _invalid_share(rankings)) > limit:
            reason = next((r.reason for r in rankings if not r.valid), "see the other processes")
            raise TrainingHalted(
                f"{share:.0%} of the groups have no ranking ({reason}), above oracle.halt_above = "
                f"{limit:g}. Saved before the update; the same command asks again."
            )
        return Answer(rankings, answer.stats)

    def _again(self, requests: Sequence[RankRequest], answer: Answer) -> Pending[Answer]:
        """In the Oracle's thread, which may be busy with the next step's groups."""

        def again() -> Answer:
            policy = self._settings.policy
            return Answer(ask_again(self._oracle, requests, answer.rankings, policy), answer.stats)

        return self._thread.start(again)

    def _stats(self) -> dict[str, float]:
        # A local Oracle is asked once, and has no cache.
        nothing = {"oracle/retries": 0.0, "oracle/cache_hit_fraction": 0.0}
        return nothing | getattr(self._oracle, "take_stats", dict)()


def _all_or_stop(asked: Pending[Answer]) -> Answer:
    """The answer, if no signal has left a process without its own; else all stop together."""
    answer, signum = None, None
    try:
        answer = asked.result()
        if not all(ranking.valid for ranking in answer.rankings):
            signum = stop.requested()
    except StopRequested as stopped:
        signum = stopped.signum
    if signum := next(filter(None, processes.gather(signum)), None):
        raise StopRequested(signum)
    return answer


def _invalid_share(rankings: list[Ranking]) -> float:
    """Of the groups of all processes."""
    everyone = processes.gather_rows([ranking.valid for ranking in rankings])
    return 1 - sum(everyone) / len(everyone)
