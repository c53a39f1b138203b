"""The Oracle that replays orders from a file: from people, a judge or an earlier run.

A request is looked up by its question and the set of its answers, regardless of their order and
repetitions, and by its video if both name one. Of several matching lines the last counts. What is
not in the file is invalid and left out of the loss; as a policy learns, it gives more and more
answers that nobody has ranked. Only orders are replayed, not scores.
"""

import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

from orl_jax.oracles.groups import Group, read_groups
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run.errors import UserError

Key = tuple[str, frozenset[str]]


class _Record(NamedTuple):
    """A line of the file: the rank of each text, or none and the reason."""

    video: str | None
    levels: dict[str, float]
    reason: str


class RecordedOracle:
    """Replays the orders of a file; see the module for the lookup.

    Args:
      path: groups with orders, as `scripts/rank_by_hand.py` and RL write them; see
        `orl_jax.oracles.groups`.

    Raises:
      UserError: no path, no such file, a bad line, or no order in the file.

    Example: `RecordedOracle("anna.jsonl").rank([request])[0].reason == "not in anna.jsonl"` for a
    request that Anna was not asked about.
    """

    def __init__(self, path: str | os.PathLike[str]):
        if not os.fspath(path):
            raise UserError(
                "oracle.recorded is empty; name a file of orders, for example "
                "--config.oracle.recorded=anna.jsonl (scripts/rank_by_hand.py writes one)"
            )
        self._path = os.fspath(path)
        self._records: dict[Key, list[_Record]] = defaultdict(list)
        for group in read_groups(path):
            if group.ranking is not None:
                self._records[_key(group.request)].append(_record(group))
        if not self._records:
            raise UserError(f"oracle.recorded is {path}; its groups have no order (oracle_ranks)")

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """One ranking per request, without scores."""
        return [self._rank_one(request) for request in requests]

    def _rank_one(self, request: RankRequest) -> Ranking:
        record = self._find(request)
        if record is None:
            return Ranking.invalid(f"not in {self._path}", request.size)
        if not record.levels:
            return Ranking.invalid(record.reason, request.size)
        ranks = [record.levels[text] for text in request.responses]
        tiers = [[i for i, r in enumerate(ranks) if r == level] for level in sorted(set(ranks))]
        return Ranking.from_order(tiers, request.size)

    def _find(self, request: RankRequest) -> _Record | None:
        """The last matching line with this video, otherwise the last without a video."""
        records = self._records.get(_key(request), [])
        fitting = [record for record in records if _same_video(record.video, request.video)]
        exact = [record for record in fitting if record.video and request.video]
        return next(reversed(exact or fitting), None)


def _key(request: RankRequest) -> Key:
    return request.question, frozenset(request.responses)


def _record(group: Group) -> _Record:
    request, ranking = group
    if not ranking.valid:
        return _Record(request.video, {}, ranking.reason)
    ranks = defaultdict(list)
    for text, rank in zip(request.responses, ranking.ranks, strict=True):
        ranks[text].append(rank)
    # An Oracle with errors may have ranked identical answers differently: the mean counts.
    levels = {text: statistics.fmean(values) for text, values in ranks.items()}
    return _Record(request.video, levels, "")


def _same_video(one: str | None, other: str | None) -> bool:
    """Whether two paths may name the same video; one of them may lack its folder."""
    if not one or not other:
        return True
    parts = sorted((PurePath(os.path.normpath(path)).parts for path in (one, other)), key=len)
    return parts[1][-len(parts[0]) :] == parts[0]
