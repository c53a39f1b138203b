"""What the Oracles that wrap another one and change its answers have in common."""

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
    """The inner Oracle's rankings, the valid ones changed; the invalid ones pass as they are.

    Raises:
      ValueError: the inner Oracle gave another number of rankings than requests.

    Example: `rerank(inner, requests, lambda ranking, request: ranking)` is what `inner` says.
    """
    rankings = zip(inner.rank(requests), requests, strict=True)
    return [change(ranking, request) if ranking.valid else ranking for ranking, request in rankings]


def generator(seed: int, *key: str) -> np.random.Generator:
    """A generator that depends on its seed and key alone: the same on every machine, in every run.

    Args:
      seed: of the wrapper.
      key: what the draw may depend on, e.g. the prompt id and the responses.

    Example: `generator(0, "p0").random() == generator(0, "p0").random()`.
    """
    text = json.dumps([seed, *key])  # unambiguous: ("a", "b") is not ("ab",)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()))
