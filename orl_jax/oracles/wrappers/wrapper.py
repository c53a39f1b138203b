"""What all wrappers share: changing another Oracle's rankings, and their random draws."""

import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np

from orl_jax.oracles.protocol import Oracle, RankRequest
from orl_jax.oracles.ranking import Ranking


def rerank(
    inner: Oracle,
    requests: Sequence[RankRequest],
    change: Callable[[Ranking, RankRequest], Ranking],
) -> list[Ranking]:
    """The inner Oracle's rankings, the valid ones changed, the invalid ones unchanged.

    Raises:
      ValueError: the inner Oracle returned a wrong number of rankings.

    Example: `rerank(inner, requests, lambda ranking, request: ranking)` returns what `inner` says.
    """
    rankings = zip(inner.rank(requests), requests, strict=True)
    return [change(ranking, request) if ranking.valid else ranking for ranking, request in rankings]


def generator(seed: int, *key: str) -> np.random.Generator:
    """A generator that depends only on its seed and key: the same on every machine, in every run.

    Args:
      seed: of the wrapper.
      key: what the draw may depend on, e.g. the prompt id and the responses.

    Example: `generator(0, "p0").random() == generator(0, "p0").random()`.
    """
    text = json.dumps([seed, *key])  # unambiguous: ("a", "b") is not ("ab",)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()))
