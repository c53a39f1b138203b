"""A person's way through the groups: what is done, what comes next, and what is saved."""

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

LONGEST = 86400.0  # seconds; a day on one group is no measurement


class Session:
    """Groups to be ranked and the file that their orders go to. Threads may share it.

    A group whose answers are all the same has one order only: it is saved as tied, and not shown.

    Args:
      requests: the groups; of one that comes twice, the first counts. Videos as in their file.
      orders: the person's file; what is in it is done.
      seed: of the shuffled answers.
      limit: the most groups to show, from the first on; None is all of them.
      show_reference: whether the page tells the accepted answer.

    Attributes:
      requests: the groups that are shown; places below count from 0 through them.
      alike: how many are not shown.

    Raises:
      UserError: the file holds orders of other groups than these.

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
        """What the page shows of a group, as JSON; without who or what wrote an answer.

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
          Why it is none and was not saved, or "".

        Raises:
          IndexError: there is no such place. OSError: see `Orders.add`.
        """
        request = self._at(place)
        ranking = to_ranking(order, request, shown_texts(request, self._seed))
        if not ranking.valid:
            return ranking.reason
        return self._add(request, ranking, seconds)

    def skip(self, place: int, seconds: Any) -> str:
        """Saves that the person has no order for a group; see `save`."""
        request = self._at(place)
        reason = f"skipped by {self._orders.ranker}"
        return self._add(request, Ranking.invalid(reason, request.size), seconds)

    def next_open(self, after: int = -1) -> int | None:
        """The next place that is not done, first behind `after`, then from the start; or None."""
        count = len(self.requests)
        places = [place % count for place in range(after + 1, after + 1 + count)]
        return next((p for p in places if self._entry(self.requests[p]) is None), None)

    def progress(self) -> dict[str, Any]:
        """Counts, and the seconds that the rest may take: None before the first is done."""
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
        """Waits for what is being saved, and closes the file."""
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
            before = self._entry(request)  # of a corrected group all visits count
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
                f"--groups (prompt {others[0][0]}, the first); give the --groups that it was made "
                "from, or name another --output"
            )
