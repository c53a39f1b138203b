"""Trivial judges: an Oracle must beat them before its agreement means anything.

python scripts/audit_oracle.py ... --config.oracle.name=orl_jax.oracles.baselines:longest
"""

import hashlib

from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking


def longest(request: RankRequest) -> Ranking:
    """More words are better; equal numbers are tied.

    Example: `longest(RankRequest("p", "?", ("a b", "a", "b")))` ranks (0, 1.5, 1.5).
    """
    return Ranking.from_scores([words(text) for text in request.responses])


def shortest(request: RankRequest) -> Ranking:
    """Fewer words are better; equal numbers are tied."""
    return Ranking.from_scores([-words(text) for text in request.responses])


def at_random(request: RankRequest) -> Ranking:
    """Any order, the same for the same texts: whatever training makes of it is the method's doing.

    The mean length of answers, for example, must stay as it is.
    """
    keys = (f"{request.prompt_id}\n{text}" for text in request.responses)
    return Ranking.from_scores([_share(hashlib.sha256(key.encode()).digest()) for key in keys])


def _share(digest: bytes) -> float:
    """In [0, 1)."""
    return int.from_bytes(digest[:6]) / 2**48


def words(text: str) -> int:
    """The number of words in a text, separated by white space."""
    return len(text.split())
