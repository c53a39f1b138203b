"""Judges that read nothing: what an Oracle must beat before its agreement says anything.

python scripts/audit_oracle.py ... --config.oracle.name=orl_jax.oracles.baselines:longest
"""

from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking


def longest(request: RankRequest) -> Ranking:
    """The more words, the better; the same number is tied.

    Example: `longest(RankRequest("p", "?", ("a b", "a", "b")))` ranks (0, 1.5, 1.5).
    """
    return Ranking.from_scores([words(text) for text in request.responses])


def shortest(request: RankRequest) -> Ranking:
    """The fewer words, the better; the same number is tied."""
    return Ranking.from_scores([-words(text) for text in request.responses])


def words(text: str) -> int:
    """How many words a text has, as spaces divide it."""
    return len(text.split())
