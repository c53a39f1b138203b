"""A served model as an Oracle: each group is asked about several times, in other orders.

A judge favours positions: the first answer, or the last. So every call shuffles the answers, the
shuffle is undone, and the ranks of `shuffles` calls are averaged. (`as_given` is the same judge
without shuffling, so that an audit sees its own bias.) Identical answers are shown once and tied. A
call that fails, or whose reply is not an order, is left out; unless more than half of the calls are
left, the group is invalid, with the reason, and does not count in training.
"""

import collections
import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from orl_jax.data.video import video_digest
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.served import prompt
from orl_jax.oracles.served.cache import DiskCache, make_key
from orl_jax.oracles.served.client import AskError, Client
from orl_jax.oracles.served.deadline import Deadline
from orl_jax.oracles.served.model import ServedModel
from orl_jax.oracles.served.reply import ReplyError, parse, parse_pair
from orl_jax.oracles.wrappers.wrapper import generator
from orl_jax.run import stop
from orl_jax.run.errors import UserError
from orl_jax.run.outside_text import one_line

_log = logging.getLogger(__name__)
MODES = ("listwise", "pairwise")


@dataclasses.dataclass(frozen=True)
class Settings(ServedModel):
    """The section `oracle.served`; `configs/oracles.py` says what each key is.

    Attributes:
      mode: "listwise", or "pairwise": a tournament.
      shuffles: calls per group, each in another order.
      frames, frame_size: pictures of the video that the model sees, and their side in pixels.
      show_reference: whether it sees the right answer.
    """

    SECTION: ClassVar[str] = "oracle.served"

    mode: str = "listwise"
    shuffles: int = 1
    frames: int = 0
    frame_size: int = 224
    show_reference: bool = False

    def identity(self) -> list[Any]:
        """What its answers depend on: part of the cache's keys."""
        return [
            self.address, self.model, self.mode, self.shuffles, self.frames, self.frame_size,
            self.show_reference, prompt.VERSION,
        ]  # fmt: skip


class _Form(NamedTuple):
    """How a question is put and its reply read."""

    instruction: str
    schema: Callable[[Sequence[str]], dict[str, Any]]
    parse: Callable[[Any, Sequence[str]], list[list[int]]]
    has_tie: bool  # whether one more label says that all are equally good


_WHOLE = _Form(prompt.LISTWISE, prompt.schema, parse, False)
_PAIR = _Form(prompt.PAIRWISE, prompt.pair_schema, parse_pair, True)


class ServedOracle:
    """See the module.

    Args:
      settings: of the section `oracle.served`.
      seed: of the shuffles and labels.
      shuffle: False shows the answers in the order of the request, and keeps no cache, whose
        keys are sets of answers without an order.

    Raises:
      UserError: no model is named, an unknown mode, an invalid address.

    Example: `ServedOracle(Settings("http://127.0.0.1:8000/v1", "judge")).rank(requests)`.
    """

    def __init__(self, settings: Settings, seed: int = 0, shuffle: bool = True) -> None:
        if not settings.model:
            raise UserError(
                "oracle.served.model is empty; name the model as the server does, and its address, "
                "for example --config.oracle.served.model=judge "
                "--config.oracle.served.address=http://127.0.0.1:8000/v1"
            )
        if settings.mode not in MODES:
            raise UserError(f"oracle.served.mode is {settings.mode!r}; choose {' or '.join(MODES)}")
        self.client = Client(settings)
        self.failures: collections.Counter[str] = collections.Counter()
        self._settings = settings
        self._seed = seed
        self._shuffle = shuffle
        self._cache = DiskCache(
            settings.cache if shuffle else "", "oracle.served.cache", settings.cache_mb
        )
        self._asking: set[Deadline] = set()
        self._asked = self._hits = self._told_retries = 0
        self._lock = threading.Lock()

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """One ranking per request; all of them within `deadline` seconds."""
        deadline = Deadline(self._settings.deadline)
        self._asking.add(deadline)
        with ThreadPoolExecutor(self._settings.concurrency) as pool:
            try:
                return list(pool.map(lambda request: self._rank(request, deadline), requests))
            except BaseException:  # the pool waits for its threads
                if not stop.requested():  # then replies that are on their way have a little time
                    deadline.cancel()
                raise
            finally:
                self._asking.discard(deadline)

    def cancel(self) -> None:
        """Ends what is being asked, within a second: those groups have no ranking."""
        for deadline in list(self._asking):
            deadline.cancel()

    def take_stats(self) -> dict[str, float]:
        """Retries and the share of cached groups since the last call; for the metrics."""
        retries, asked, hits = self.client.spent.retries, self._asked, self._hits
        stats = {
            "oracle/retries": float(retries - self._told_retries),
            "oracle/cache_hit_fraction": hits / asked if asked else 0.0,
        }
        self._told_retries, self._asked, self._hits = retries, 0, 0
        return stats

    def as_given(self) -> Self:
        """The judge itself: one call per group, the answers in the order of the request.

        For audits: its position bias is not averaged out. It shares the client, and so
        its budget.
        """
        once = dataclasses.replace(self._settings, shuffles=1)
        other = type(self)(once, self._seed, shuffle=False)
        other.client.close()
        other.client = self.client
        return other

    def close(self) -> None:
        """Closes the cache's files and the connections."""
        self._cache.close()
        self.client.close()

    def _rank(self, request: RankRequest, deadline: Deadline) -> Ranking:
        start = time.monotonic()
        texts = list(dict.fromkeys(zip(request.responses, request.truncated, strict=True)))
        if self._shuffle:
            texts.sort()  # one key for a set of answers, however it came
        key = make_key(
            self._settings.identity(), request.question, request.narrative,
            request.reference if self._settings.show_reference else None,
            video_digest(request.video) if self._settings.frames else "", texts,
        )  # fmt: skip
        known, raw = self._cache.get(key, partial(_are_ranks, size=len(texts))), ""
        with self._lock:
            self._asked, self._hits = self._asked + 1, self._hits + (known is not None)
        if known is None:
            try:
                known, raw = self._ask(request, [_shown(*text) for text in texts], key, deadline)
            except (AskError, ReplyError, OSError) as error:
                return self._failed(error, request, time.monotonic() - start)
            self._cache.put(key, known)
        rank_of = dict(zip(texts, known, strict=True))
        pairs = zip(request.responses, request.truncated, strict=True)
        order = [-rank_of[pair] for pair in pairs]
        found = Ranking.from_scores(order, raw=raw, seconds=time.monotonic() - start)
        return dataclasses.replace(found, scores=())  # places, not scores

    def _failed(self, error: Exception, request: RankRequest, seconds: float) -> Ranking:
        reason = str(error) or type(error).__name__
        with self._lock:
            self.failures[reason.partition(":")[0]] += 1
        return Ranking.invalid(one_line(reason, 300), request.size, seconds=seconds)

    def _ask(
        self, request: RankRequest, answers: list[str], key: str, deadline: Deadline
    ) -> tuple[list[float], str]:
        """Mean ranks of different answers over the shuffles, and what the model said."""
        if len(answers) == 1:
            return [0.0], ""
        frames = self._frames(request)
        listwise = self._settings.mode == "listwise"
        ask = partial(self._order, _WHOLE) if listwise else self._pairwise
        votes, said, error = [], [], None
        for shuffle in range(self._settings.shuffles):
            # By the order as well: the same answers in another one are shuffled differently.
            rng = generator(self._seed, key, *request.responses, str(shuffle))
            try:
                ranks, text = ask(request, answers, frames, rng, deadline)
            except (AskError, ReplyError) as failure:
                error = failure
                continue
            votes.append(ranks)
            said.append(text)
        if 2 * len(votes) <= self._settings.shuffles:
            raise error or AskError("no call succeeded")
        return np.mean(votes, axis=0).tolist(), "\n".join(said)

    def _pairwise(
        self,
        request: RankRequest,
        answers: list[str],
        frames: list[bytes],
        rng: np.random.Generator,
        deadline: Deadline,
    ) -> tuple[tuple[float, ...], str]:
        """A tournament: an answer's score is its wins, a tie half a win."""
        wins, said = np.zeros(len(answers)), []
        for pair in itertools.combinations(range(len(answers)), 2):
            both = [answers[place] for place in pair]
            ranks, text = self._order(_PAIR, request, both, frames, rng, deadline)
            wins[list(pair)] += 1 - np.asarray(ranks)
            said.append(text)
        return Ranking.from_scores(wins.tolist()).ranks, "\n".join(said)

    def _order(
        self,
        form: "_Form",
        request: RankRequest,
        answers: list[str],
        frames: list[bytes],
        rng: np.random.Generator,
        deadline: Deadline,
    ) -> tuple[tuple[float, ...], str]:
        """One call: ranks of answers, which it shows in an order of its own, and what it said."""
        order = rng.permutation(len(answers)) if self._shuffle else np.arange(len(answers))
        labels = prompt.draw_labels(request, len(answers) + form.has_tie, rng)
        asked = prompt.messages(
            request, [answers[place] for place in order], labels[: len(answers)], frames,
            show_reference=self._settings.show_reference, instruction=form.instruction,
            tie=labels[-1] if form.has_tie else "",
        )  # fmt: skip
        text = self.client.complete(asked, form.schema(labels), deadline)
        tiers = [[int(order[place]) for place in tier] for tier in form.parse(text, labels)]
        return Ranking.from_order(tiers, len(answers)).ranks, text

    def _frames(self, request: RankRequest) -> list[bytes]:
        if not self._settings.frames or not request.video:
            return []
        from orl_jax.data.video import ClipFormat, VideoError, read_frames  # decord: only if needed

        clip = ClipFormat(self._settings.frames, self._settings.frame_size)
        try:
            frames = read_frames(request.video, clip)
        except VideoError as error:
            raise AskError(f"unreadable video: {error}") from error
        return [prompt.to_jpeg(frame) for frame in frames]


def _are_ranks(value: Any, size: int) -> bool:
    """Whether a value of the cache is the mean of some orders of `size` answers."""
    return (
        isinstance(value, list)
        and len(value) == size
        and all(type(rank) is float and 0 <= rank <= size - 1 for rank in value)
        and abs(sum(value) - size * (size - 1) / 2) < 1e-6
    )


def _shown(text: str, truncated: bool) -> str:
    return f"{text} [broken off]" if truncated else text


def make_served(section: dict[str, Any]) -> ServedOracle:
    """The Oracle of a config section `oracle`; reads `served` and `seed`.

    Raises:
      UserError: an unknown key of `served`, or what `ServedOracle` refuses.
    """
    return ServedOracle(Settings.of(section.get("served") or {}), seed=section.get("seed", 0))
