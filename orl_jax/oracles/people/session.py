"""A person's session of ranking: which groups are done, which comes next, what is saved."""

import hashlib
import math
import statistics
import threading
from collections.abc import Collection, Sequence
from typing import Any

from orl_jax.oracles.people.cards import are_cut, shown_texts, to_order, to_ranking
from orl_jax.oracles.people.orders import Entry, Key, Orders, key_of
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run.errors import UserError

LONGEST = 86400.0  # seconds; more than a day on one group is not a measurement


class Session:
    """Groups to be ranked and the file for their orders. Threads may share it.

    A group whose answers are all the same has only one order: it is saved as tied and not shown.

    Args:
      requests: the groups; of duplicates, the first counts. Videos are named as in their file.
      orders: the person's file; the groups in it are done.
      seed: for shuffling the answers.
      limit: show at most this many groups, counted from the first; None shows all.
      show_reference: whether the page shows the accepted answer.

    Attributes:
      requests: the groups to show; the places below are indices into them.
      alike: the number of groups that are not shown because their answers are all the same.

    Raises:
      UserError: the file holds orders of groups that are not among these.

    Example: `Session([group.request for group in read_groups(path)], Orders("a.jsonl", "anna"))`.
    """

    def __init__(
        self,
        requests: Sequence[RankRequest],
        orders: Orders,
        *,
        seed: int = 0,
        limit: int | None = None,
        show_reference: bool = False,
    ):
        self._orders, self._seed, self._show_reference = orders, seed, show_reference
        self._lock = threading.Lock()
        unique: dict[Key, RankRequest] = {}
        for request in requests:
            unique.setdefault(key_of(request), request)
        every = list(unique.values())
        self._check_same_groups(unique)
        self.requests = [r for r in every if len(set(r.responses)) > 1][:limit]
        self.alike = self._tie_alike([r for r in every if len(set(r.responses)) == 1])

    def view(self, place: int) -> dict[str, Any]:
        """What the page shows of a group, as JSON; it does not reveal who wrote an answer.

        Raises:
          IndexError: there is no such place.
        """
        request = self._at(place)
        texts, entry = shown_texts(request, self._seed), self._entry(request)
        ranked = entry is not None and entry.ranking.valid
        return self.progress() | {
            "place": place,
            "id": hashlib.sha256(repr((key_of(request), texts)).encode()).hexdigest()[:16],
            "question": request.question,
            "task_type": request.task_type,
            "has_video": request.video is not None,
            "texts": texts,
            "cut": are_cut(request, texts),
            "order": to_order(entry.ranking, request, texts) if ranked else None,
            "skipped": entry is not None and not ranked,
            "reference": request.reference if self._show_reference else None,
        }

    def save(self, place: int, order: Any, seconds: Any) -> str:
        """Saves an order of the texts that `view` shows.

        Returns:
          Why it is not an order and was not saved, or "".

        Raises:
          IndexError: there is no such place.
          OSError: see `Orders.add`.
        """
        request = self._at(place)
        ranking = to_ranking(order, request, shown_texts(request, self._seed))
        if not ranking.valid:
            return ranking.reason
        return self._add(request, ranking, seconds)

    def skip(self, place: int, seconds: Any) -> str:
        """Saves that the person skipped a group; see `save`."""
        request = self._at(place)
        reason = f"skipped by {self._orders.ranker}"
        return self._add(request, Ranking.invalid(reason, request.size), seconds)

    def next_open(self, after: int = -1) -> int | None:
        """The next place that is not done, searched from `after` on and then from 0; or None."""
        count = len(self.requests)
        places = [place % count for place in range(after + 1, after + 1 + count)]
        return next((p for p in places if self._entry(self.requests[p]) is None), None)

    def progress(self) -> dict[str, Any]:
        """Counts, and an estimate of the seconds left: None before the first group is done."""
        entries = [entry for r in self.requests if (entry := self._entry(r))]
        usual = statistics.median([entry.seconds for entry in entries]) if entries else None
        total, done = len(self.requests), len(entries)
        return {
            "total": total,
            "done": done,
            "skips": sum(not entry.ranking.valid for entry in entries),
            "seconds_left": None if usual is None else usual * (total - done),
            "ranker": self._orders.ranker,
            "output": str(self._orders.path),
        }

    def close(self) -> None:
        """Waits until pending orders are saved, and closes the file."""
        with self._lock:
            self._orders.close()

    def _at(self, place: int) -> RankRequest:
        if not 0 <= place < len(self.requests):
            raise IndexError(f"there is no group {place}; there are {len(self.requests)}")
        return self.requests[place]

    def _entry(self, request: RankRequest) -> Entry | None:
        return self._orders.entries.get(key_of(request))

    def _add(self, request: RankRequest, ranking: Ranking, seconds: Any) -> str:
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not number or not 0 <= seconds < math.inf:
            return f"seconds is {seconds!r:.40}; it must be a number, at least 0"
        with self._lock:
            before = self._entry(request)  # for a corrected group all visits count
            spent = min(seconds, LONGEST) + (before.seconds if before else 0.0)
            self._orders.add(request, ranking, spent)
        return ""

    def _tie_alike(self, requests: Sequence[RankRequest]) -> int:
        for request in requests:
            if self._entry(request) is None:
                tied = Ranking.from_order([list(range(request.size))], request.size)
                self._orders.add(request, tied, 0.0)
        return len(requests)

    def _check_same_groups(self, keys: Collection[Key]) -> None:
        others = [key for key in self._orders.entries if key not in keys]
        if others:
            raise UserError(
                f"{self._orders.path} holds orders of {len(others)} groups that are not in "
                f"--groups (the first has the prompt {others[0][0]}); give the --groups that it "
                "was made from, or name another --output"
            )
