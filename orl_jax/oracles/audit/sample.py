"""Which groups an audit asks about, and who is right about them."""

import dataclasses
import glob
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from orl_jax.data.subset import spread
from orl_jax.oracles.audit.settings import AuditSettings
from orl_jax.oracles.groups import Group, read_groups
from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.reference import ReferenceOracle
from orl_jax.run.errors import UserError

TRUTHS = ("reference", "recorded", "none")


class Case(NamedTuple):
    """A group to be asked about; `key` names it by its content."""

    key: str
    request: RankRequest
    truth: Ranking | None


@dataclasses.dataclass(frozen=True)
class Sample:
    """The cases, and what was left out.

    Attributes:
      cases: in the order in which they are asked about.
      found: groups in the files.
      same: of these, those that are not asked about: all answers are the same, so there is
        nothing to rank, or the group is a duplicate.
      no_truth: of the cases, why some have no truth, with their number.
    """

    cases: list[Case]
    found: int
    same: int
    no_truth: Counter[str]


def draw_sample(settings: AuditSettings, folder: str) -> Sample:
    """The cases that an audit asks about.

    Args:
      settings: `groups`, `truth`, `max_groups` and `seed` count here.
      folder: what the videos' paths are relative to.

    Raises:
      UserError: no such file, nothing to rank in it, no truth of any case.

    Example: `draw_sample(AuditSettings("rollouts/150.jsonl"), "data").cases[0].request`.
    """
    groups = _read(settings.groups, folder)
    ranked = [group for group in groups if len(different(group.request)) > 1]
    ranked = list({_key(group.request): group for group in ranked}.values())  # each once
    if not ranked:
        raise UserError(
            f"audit.groups={settings.groups} holds {len(groups)} groups, and in each all answers "
            "are the same: there is nothing to rank; take other groups"
        )
    chosen = stratified(ranked, settings.max_groups, settings.seed)
    truths = _truths(settings.truth, chosen, folder)
    if settings.truth != "none" and not any(t and t.valid for t in truths):
        raise UserError(
            f"audit.truth={settings.truth} orders none of {len(chosen)} groups "
            f"({_why(truths[0])}); choose reference, recorded, a file of groups, or none"
        )
    cases = [
        Case(_key(group.request), group.request, truth if truth and truth.valid else None)
        for group, truth in zip(chosen, truths, strict=True)
    ]
    missing = Counter(_why(truth) for truth in truths if not (truth and truth.valid))
    return Sample(cases, len(groups), len(groups) - len(ranked), missing)


def different(request: RankRequest) -> list[int]:
    """The first of each of the different answers of a group.

    Example: `different(RankRequest("p", "?", ("a", "b", "a"))) == [0, 1]`.
    """
    answers = list(zip(request.responses, request.truncated, strict=True))
    return [index for index, answer in enumerate(answers) if answers.index(answer) == index]


def stratified(groups: Sequence[Group], count: int, seed: int) -> list[Group]:
    """At most `count` groups, each task type keeping its share; 0 is all. The order is kept.

    Example: of 30 groups of one type and 10 of another, 8 are 6 and 2.
    """
    strata = [group.request.task_type or "" for group in groups]
    return [groups[place] for place in spread(strata, count, seed)]


def _read(names: str, folder: str) -> list[Group]:
    if not names:
        raise UserError(
            "audit.groups is empty; name a file of groups of answers, for example "
            "--config.audit.groups=runs/demo/rollouts/150.jsonl"
        )
    groups = []
    for name in names.split(","):
        for path in sorted(glob.glob(name)) or [name]:
            groups += read_groups(path, folder)
    return groups


def _truths(truth: str, groups: Sequence[Group], folder: str) -> list[Ranking | None]:
    if truth == "none":
        return [None] * len(groups)
    if truth == "recorded":
        return [group.ranking for group in groups]
    if truth == "reference":
        return list(ReferenceOracle().rank([group.request for group in groups]))
    known = {_set(g.request): g for g in _read_truth(truth, folder) if g.ranking is not None}
    return [_matched(group.request, known.get(_set(group.request))) for group in groups]


def _read_truth(path: str, folder: str) -> list[Group]:
    try:
        return _read(path, folder)
    except UserError as error:
        raise UserError(
            f"audit.truth is {path!r}; choose one of {', '.join(TRUTHS)}, or a file of groups with "
            f"oracle_ranks ({error})"
        ) from error


def _matched(request: RankRequest, other: Group | None) -> Ranking | None:
    """Another file's order of the same answers, by their text; equal texts share their mean."""
    if other is None:
        return None
    if not other.ranking.valid:
        return Ranking.invalid(other.ranking.reason, request.size)
    ranks: dict[str, list[float]] = defaultdict(list)
    for text, rank in zip(other.request.responses, other.ranking.ranks, strict=True):
        ranks[text].append(rank)
    scores = [-float(np.mean(ranks[text])) for text in request.responses]
    return dataclasses.replace(Ranking.from_scores(scores), scores=())


def _why(truth: Ranking | None) -> str:
    return "no order of it is known" if truth is None else truth.reason


def _set(request: RankRequest) -> tuple[str, frozenset[str]]:
    return request.question, frozenset(request.responses)


def _key(request: RankRequest) -> str:
    parts = [request.question, request.video, request.responses, request.truncated]
    return hashlib.sha256(json.dumps([request.prompt_id, *parts]).encode()).hexdigest()[:16]
