"""The request to an Oracle, the Oracle protocol, and the one place where Oracles are called.

An Oracle's *answers* are data: a bad answer becomes an invalid `Ranking` with a reason, and its
group is left out of the loss. What an Oracle says is kept without secrets, and identical answers
are tied whatever it says. A *programmer's* mistakes (such as wrong sizes in a request) raise
`ValueError`. No jax here.
"""

import dataclasses
import logging
import math
import time
import traceback
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from orl_jax.oracles.ranking import Ranking
from orl_jax.run import stop
from orl_jax.run.disk import is_trouble
from orl_jax.run.errors import Failure, UserError
from orl_jax.run.outside_text import lines, one_line, storable

_log = logging.getLogger(__name__)
POLICIES = ("skip", "raise")
_REASON = 1000  # characters


class OracleError(RuntimeError):
    """An Oracle failed, or gave an invalid ranking, under the policy "raise"."""


@dataclasses.dataclass(frozen=True)
class RankRequest:
    """One prompt and its G responses, to be ranked.

    Args:
      prompt_id: a stable name, e.g. "train/00012-3".
      question: what was asked about the video.
      responses: the G answers, G >= 1.
      truncated: for each response, whether it hit the length limit before an end token; empty
        for none.
      video: path of the clip, for Oracles that watch it.
      reference, paraphrases: the accepted answer and other accepted forms, if known.
      task_type: e.g. "counting".
      narrative: a description of the video, for Oracles that read it instead of watching.

    Raises:
      ValueError: no responses, or a different number of flags than responses.
    """

    prompt_id: str
    question: str
    responses: tuple[str, ...]
    truncated: tuple[bool, ...] = ()
    video: str | None = None
    reference: str | None = None
    paraphrases: tuple[str, ...] = ()
    task_type: str | None = None
    narrative: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.responses, str) or not self.responses:
            raise ValueError(f"{self.prompt_id}: responses must be a tuple of at least one string")
        for name in ("responses", "truncated", "paraphrases"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        truncated = self.truncated or (False,) * self.size
        if len(truncated) != self.size:
            counts = f"{self.size} responses but {len(truncated)} truncated flags"
            raise ValueError(f"{self.prompt_id}: {counts}")
        object.__setattr__(self, "truncated", tuple(bool(flag) for flag in truncated))

    @property
    def size(self) -> int:
        """The number of responses G."""
        return len(self.responses)


@runtime_checkable
class Oracle(Protocol):
    """Anything that ranks responses.

    Example: `oracle.rank([RankRequest("p0", "Red?", ("yes", "no"))])[0].ranks == (0.0, 1.0)`.
    """

    def rank(self, requests: Sequence[RankRequest]) -> Sequence[Ranking]:
        """One ranking per request, in the same order, each of its request's size."""
        ...


def ask(
    oracle: Oracle,
    requests: Sequence[RankRequest],
    policy: str = "skip",
    *,
    tie_identical: bool = True,
) -> list[Ranking]:
    """Calls the Oracle once and returns one checked ranking per request.

    A ranking without its seconds gets an equal share of the call's.

    Args:
      tie_identical: ties answers that are the same, to the letter and in whether they are
        truncated: each gets the mean of their scores, or of their ranks. False leaves them as the
        Oracle ranked them, for those who measure it.
      policy: "skip" turns a failure (an exception, a wrong count or size) into invalid rankings
        with the reason, and logs their number; "raise" raises on a failure and on any invalid
        ranking.

    Raises:
      OracleError: under "raise". ValueError: an unknown policy.
      UserError passes through under both policies: asking again does not fix a configuration. So
        does an OSError of a full disk.
    """
    if policy not in POLICIES:
        raise ValueError(f"unknown policy {policy!r}; choose one of {', '.join(POLICIES)}")
    start = time.monotonic()
    rankings = _call(oracle, requests, policy)
    share = (time.monotonic() - start) / max(len(requests), 1)
    checked = [_fitting(k, r, share) for k, r in zip(rankings, requests, strict=True)]
    if tie_identical:
        checked = [tied_where_identical(k, r) for k, r in zip(checked, requests, strict=True)]
    bad = [(r.prompt_id, k.reason) for r, k in zip(requests, checked, strict=True) if not k.valid]
    if bad:
        first = f"first {bad[0][0]}: {bad[0][1]}"
        message = f"{len(bad)} of {len(requests)} rankings are invalid, {first}"
        if policy == "raise":
            raise OracleError(message)
        _log.warning(message)
    return checked


def ask_again(
    oracle: Oracle, requests: Sequence[RankRequest], rankings: Sequence[Ranking], policy: str
) -> list[Ranking]:
    """The rankings, with the invalid ones asked for again; see `ask`."""
    places = [place for place, ranking in enumerate(rankings) if not ranking.valid]
    found = list(rankings)
    again = ask(oracle, [requests[place] for place in places], policy) if places else []
    for place, ranking in zip(places, again, strict=True):
        found[place] = ranking
    return found


def cancel(oracle: Oracle) -> None:
    """Ends what an Oracle, or one inside it, is waiting for, if it can; its groups are invalid.

    Example: `cancel(NoisyOracle(served))` calls `served.cancel()`.
    """
    getattr(oracle, "cancel", lambda: None)()
    for inner in (getattr(oracle, "inner", None), *getattr(oracle, "members", ())):
        if inner is not None:
            cancel(inner)


def _call(oracle: Oracle, requests: Sequence[RankRequest], policy: str) -> list[Any]:
    try:
        rankings = list(oracle.rank(requests))
        if len(rankings) != len(requests):
            raise OracleError(f"{len(rankings)} rankings for {len(requests)} requests")
        return rankings
    except (UserError, Failure):
        raise
    except (Exception, SystemExit) as error:  # an Oracle may be any code, or a remote service
        if isinstance(error, OSError) and is_trouble(error):  # of its cache: it will fail again
            raise
        if isinstance(error, SystemExit) and stop.requested():  # of a signal, not the Oracle's
            raise
        reason = one_line(f"{type(error).__name__}: {error}", _REASON)
        if policy == "raise":
            raise OracleError(f"the Oracle failed: {reason}") from error
        _log.warning("the Oracle failed\n%s", lines(traceback.format_exc(), _REASON))
        return [Ranking.invalid(reason, request.size) for request in requests]


def _fitting(ranking: Any, request: RankRequest, seconds: float) -> Ranking:
    """The ranking if it fits its request, otherwise an invalid one; `seconds` is the default."""
    if not isinstance(ranking, Ranking):
        reason = f"not a Ranking but {type(ranking).__name__}"
        return Ranking.invalid(reason, request.size, seconds=seconds)
    seconds, raw = _seconds(ranking.seconds, seconds), storable(str(ranking.raw))
    if len(ranking.ranks) != request.size:
        reason = f"{len(ranking.ranks)} ranks for {request.size} responses"
        return Ranking.invalid(reason, request.size, raw=raw, seconds=seconds)
    reason = one_line(str(ranking.reason), _REASON) or ("not said" if ranking.reason else "")
    return dataclasses.replace(ranking, reason=reason, raw=raw, seconds=seconds)


def tied_where_identical(ranking: Ranking, request: RankRequest) -> Ranking:
    """The ranking with identical answers tied at the mean of their scores, or of their ranks.

    Example: the answers a, b, c, a with the ranks (0, 1, 2, 3) get (1.5, 0, 3, 1.5).
    """
    answers = list(zip(request.responses, request.truncated, strict=True))
    levels = ranking.scores or tuple(-rank for rank in ranking.ranks)
    of: dict[Any, list[float]] = {}
    for answer, level in zip(answers, levels, strict=True):
        of.setdefault(answer, []).append(level)
    if not ranking.valid or all(min(said) == max(said) for said in of.values()):
        return ranking
    means = {answer: _mean(said) for answer, said in of.items()}
    found = Ranking.from_scores([means[answer] for answer in answers])
    return dataclasses.replace(
        found,
        scores=found.scores if ranking.scores else (),  # places are not scores
        raw=ranking.raw,
        seconds=ranking.seconds,
    )


def _mean(values: Sequence[float]) -> float:
    """The mean; exact where all are the same, and finite where all are."""
    same = min(values) == max(values)
    return values[0] if same else sum(value / len(values) for value in values)


def _seconds(said: Any, default: float) -> float:
    known = isinstance(said, int | float) and math.isfinite(said) and said > 0
    return float(said) if known else default
