"""Several Oracles as one: the mean of their ranks (Borda count)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from orl_jax.oracles.protocol import Oracle, RankRequest, ask
from orl_jax.oracles.ranking import Ranking


@dataclasses.dataclass(frozen=True)
class EnsembleOracle:
    """Orders by the mean rank over the members that have a ranking.

    Args:
      members: two or more; each is asked about all requests.
      quorum: the least number of members with a valid ranking of a group, or it is invalid.

    Raises:
      ValueError: fewer than two members, or a quorum out of range.

    Example: `EnsembleOracle((ReferenceOracle(), judge)).rank(requests)`.
    """

    members: tuple[Oracle, ...]
    quorum: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        if len(self.members) < 2:
            raise ValueError(f"members are {len(self.members)}; an ensemble has two or more")
        if not 1 <= self.quorum <= len(self.members):
            raise ValueError(f"quorum is {self.quorum}; it must be in 1 ... {len(self.members)}")

    def rank(self, requests: Sequence[RankRequest]) -> list[Ranking]:
        """One ranking per request; a member that fails has no ranking."""
        said = [ask(member, requests, "skip") for member in self.members]
        return [self._mean(votes) for votes in zip(*said, strict=True)]

    def _mean(self, votes: Sequence[Ranking]) -> Ranking:
        seconds = sum(vote.seconds for vote in votes)
        valid = [vote.ranks for vote in votes if vote.valid]
        if len(valid) < self.quorum:
            reason = next((vote.reason for vote in votes if not vote.valid), "")
            reason = f"{len(valid)} of {len(votes)} members have a ranking: {reason}"
            return Ranking.invalid(reason, len(votes[0].ranks), seconds=seconds)
        # Sums, not means: they are exact, so that equal totals tie.
        total = np.sum(valid, axis=0)
        found = Ranking.from_scores((-total).tolist(), seconds=seconds)
        return dataclasses.replace(found, scores=())  # sums of ranks are not scores

    def take_stats(self) -> dict[str, float]:
        """Sums of the members' retries, means of their other numbers; see `ServedOracle`."""
        parts = [member.take_stats() for member in self.members if hasattr(member, "take_stats")]
        names = dict.fromkeys(name for part in parts for name in part)
        sums = {name: sum(part.get(name, 0.0) for part in parts) for name in names}
        return {n: v if n == "oracle/retries" else v / len(parts) for n, v in sums.items()}
