"""What an audit took: time, calls, tokens and their price."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orl_jax.oracles.audit.asking import Reply


def costs(replies: Sequence[Reply], price: Mapping[str, float]) -> dict[str, Any]:
    """Sums over all asks, those of an earlier, killed audit included.

    Args:
      replies: of whole groups and of pairs.
      price: money per million tokens of "input" and "output"; 0 where it is not known.

    Returns:
      {"asks", "wall_seconds", "seconds": {"p50", "p90", "p99"} of an ask about a whole group,
      "calls", "tokens", …: what a served Oracle tells, "price": None where not known}.

    Example: `costs(replies, {"input": 0.0, "output": 0.0})["seconds"]["p90"]`.
    """
    used: Counter[str] = Counter()
    for reply in replies:
        used.update(reply.row["used"])
    wall = used.pop("wall", 0.0)
    whole = [r.row["seconds"] for r in replies if r.row["part"] != "pairwise"]
    points = np.percentile(whole, (50, 90, 99)).tolist() if whole else [None] * 3
    told = {name: round(count) for name, count in used.items()}
    return {
        "asks": len(replies),
        "wall_seconds": wall,
        "seconds": dict(zip(("p50", "p90", "p99"), points, strict=True)),
        **told,
        "price": _price(told, price),
    }


def _price(told: Mapping[str, int], price: Mapping[str, float]) -> float | None:
    tokens = told.get("prompt_tokens", 0), told.get("completion_tokens", 0)
    if not any(tokens) or not (price["input"] or price["output"]):
        return None
    return (tokens[0] * price["input"] + tokens[1] * price["output"]) / 1e6


def invalid_reasons(replies: Sequence[Reply]) -> dict[str, int]:
    """How many asks have no ranking, by the first words of the reason, the most frequent first.

    Example: {"timed out": 3, "missing labels": 1}.
    """
    reasons = (r.ranking.reason.partition(":")[0] for r in replies if not r.ranking.valid)
    return dict(Counter(reasons).most_common())


def first_reason(replies: Sequence[Reply]) -> str:
    """The full reason of the first ask without a ranking; "" where all have one."""
    return next((r.ranking.reason for r in replies if not r.ranking.valid), "")
