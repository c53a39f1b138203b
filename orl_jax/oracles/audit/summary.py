"""All numbers of an audit, overall and by task type: what `audit.json` holds."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orl_jax.oracles.audit.asking import EXPOSED, LISTWISE, PAIRWISE, Ask, Reply
from orl_jax.oracles.audit.bias import by_length, position_bias
from orl_jax.oracles.audit.costs import costs, first_reason, invalid_reasons
from orl_jax.oracles.audit.sample import Case, Sample
from orl_jax.oracles.audit.scores import MEASURES, Scores, limits, scores, why_no_tau
from orl_jax.oracles.audit.settings import AuditSettings
from orl_jax.oracles.baselines import words
from orl_jax.report.statistics import interval

NO_TYPE = "no task type"


class Finding(NamedTuple):
    """A case with what was said about it and the measures that follow."""

    case: Case
    listwise: list[Reply]
    exposed: list[Reply]
    pairwise: list[Reply]
    scores: Scores

    @property
    def task_type(self) -> str:
        """Never empty."""
        return self.case.request.task_type or NO_TYPE


def findings(cases: Sequence[Case], replies: Mapping[Ask, Reply]) -> list[Finding]:
    """One per case, in their order."""
    said: dict[tuple[str, str], list[Reply]] = defaultdict(list)
    for each, reply in replies.items():
        said[each.part, each.key].append(reply)
    found = []
    for case in cases:
        lists, exposed, pairs = (said[part, case.key] for part in (LISTWISE, EXPOSED, PAIRWISE))
        found.append(Finding(case, lists, exposed, pairs, scores(case, lists, pairs)))
    return found


def summarise(sample: Sample, found: Sequence[Finding], settings: AuditSettings) -> dict[str, Any]:
    """The numbers; what is not defined is None.

    Args:
      found: of the sample's cases.
      settings: `bootstrap`, `seed` and `price` count here.

    Returns:
      {"groups", "measures": {"all": {measure: interval}, "task_types": {type: …}}, "position",
      "judge_position" (None where it is the same), "length", "tau_left_out", "invalid", "costs"}.
    """
    parts = _parts(found)
    replies = [r for f in found for r in (*f.listwise, *f.exposed, *f.pairwise)]
    exposed = any(f.exposed for f in found)
    return {
        "groups": _groups(sample),
        "measures": _by_type(parts, lambda part: _measures(part, settings)),
        "position": _by_type(parts, lambda part: _position(part, settings, "listwise")),
        "judge_position": _position(found, settings, "exposed") if exposed else None,
        "length": _length(found),
        "tau_left_out": _reasons(found),
        "invalid": {
            "asks": len(replies),
            "reasons": invalid_reasons(replies),
            "first": first_reason(replies),
        },
        "costs": costs(replies, settings.price),
    }


def _parts(found: Sequence[Finding]) -> dict[str, list[Finding]]:
    parts: dict[str, list[Finding]] = {"all": list(found)}
    for name in sorted({f.task_type for f in found}):
        parts[name] = [f for f in found if f.task_type == name]
    return parts


def _by_type(parts: Mapping[str, list[Finding]], measure: Any) -> dict[str, Any]:
    measured = {name: measure(part) for name, part in parts.items()}
    return {"all": measured.pop("all"), "task_types": measured}


def _measures(part: Sequence[Finding], settings: AuditSettings) -> dict[str, Any]:
    return {
        name: interval(
            [f.scores[name] for f in part],
            limits(name),
            resamples=settings.bootstrap,
            seed=settings.seed,
        )
        for name in MEASURES
    } | {"groups": len(part)}


def _position(
    part: Sequence[Finding], settings: AuditSettings, which: str
) -> dict[str, Any] | None:
    return position_bias([getattr(f, which) for f in part], settings.bootstrap, settings.seed)


def _length(found: Sequence[Finding]) -> dict[str, Any]:
    """Ranks against length, where both the Oracle and the truth have an order."""
    compared = [f for f in found if not math.isnan(f.scores["length_bias"])]
    lengths = {f.case.key: [words(t) for t in f.case.request.responses] for f in compared}
    said = [
        (reply.ranks.tolist(), lengths[f.case.key])
        for f in compared
        for reply in f.listwise
        if reply.ranking.valid
    ]
    true = [(f.case.truth.ranks, lengths[f.case.key]) for f in compared]
    return {"oracle": by_length(said), "truth": by_length(true)}


def _groups(sample: Sample) -> dict[str, Any]:
    types = Counter(case.request.task_type or NO_TYPE for case in sample.cases)
    return {
        "found": sample.found,
        "nothing_to_rank": sample.same,
        "asked": len(sample.cases),
        "no_truth": dict(sample.no_truth),
        "task_types": dict(sorted(types.items())),
    }


def _reasons(found: Sequence[Finding]) -> dict[str, int]:
    reasons = Counter(why_no_tau(f.case, f.listwise) for f in found)
    return {reason: count for reason, count in reasons.most_common() if reason}
