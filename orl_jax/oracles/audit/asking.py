"""The asks of an audit: each with the answers in another order, kept in a file as they come.

Position bias of any Oracle shows when the *responses of the request* change places; the change is
undone. An audit that was killed resumes where it stopped: what is in the file is not asked again.
"""

import dataclasses
import itertools
import json
import operator
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from orl_jax.oracles.audit.sample import Case, different
from orl_jax.oracles.audit.settings import AuditSettings
from orl_jax.oracles.groups import to_row
from orl_jax.oracles.protocol import Oracle, RankRequest, ask
from orl_jax.oracles.ranking import Ranking
from orl_jax.oracles.wrappers.wrapper import generator
from orl_jax.run.disk import naming
from orl_jax.run.errors import UserError
from orl_jax.run.files import read_json_lines, sealed, unsealed, warn_of_unsealed
from orl_jax.run.reading import read_bytes

BATCH = 16  # groups a call; what is lost when the audit is killed
# What is asked: the whole group | the same, the judge without its own shuffles | two answers.
LISTWISE, EXPOSED, PAIRWISE = PARTS = ("listwise", "exposed", "pairwise")


class Ask(NamedTuple):
    """One ask: a case (its key) and which of its answers are shown, in this order."""

    part: str
    key: str
    slots: tuple[int, ...]


class Reply(NamedTuple):
    """What was said: the ranking is of the slots, as they were shown."""

    slots: tuple[int, ...]
    ranking: Ranking
    row: Mapping[str, Any]  # its line in the file

    @property
    def ranks(self) -> np.ndarray:
        """Ranks of the answers in the group's own order, float [G]; of a whole group only.

        Example: slots (2, 0, 1) ranked (0, 1, 2) are answers ranked (1, 2, 0).
        """
        ranks = np.empty(len(self.slots))
        ranks[list(self.slots)] = self.ranking.ranks
        return ranks


def plan(cases: Sequence[Case], settings: AuditSettings, parts: Sequence[str]) -> list[Ask]:
    """All asks; orders of presentation depend only on the seed and the group. None comes twice.

    Args:
      settings: `shuffles`, `pairs` and `seed` count here.
      parts: those for which there is an Oracle.

    Example: with 3 shuffles and no pairs, 3 asks per case, or fewer where an order is drawn twice.
    """
    asks = []
    for part in (p for p in parts if p != PAIRWISE):
        for case, number in itertools.product(cases, range(settings.shuffles)):
            rng = generator(settings.seed, case.key, str(number))
            asks.append(Ask(part, case.key, tuple(rng.permutation(case.request.size).tolist())))
    chosen = [case for case in cases if len(different(case.request)) > 2]
    for case in sorted(chosen)[: settings.pairs]:  # keys are hashes, so this is a random choice
        rng = generator(settings.seed, case.key)
        for pair in itertools.combinations(different(case.request), 2):
            asks.append(Ask(PAIRWISE, case.key, tuple(rng.permutation(pair).tolist())))
    return list(dict.fromkeys(asks))


def ask_all(
    oracles: Mapping[str, Oracle], cases: Sequence[Case], asks: Sequence[Ask], path: Path
) -> dict[Ask, Reply]:
    """The reply to every ask; new ones are appended to the file at once.

    Args:
      oracles: by part.
      path: for example WORKDIR/answers.jsonl; made where missing.

    Example: `ask_all({"listwise": oracle}, cases, plan(cases, settings, ["listwise"]), path)`.
    """
    known = read_replies(path)
    requests = {case.key: case.request for case in cases}
    left = [each for each in asks if each not in known]
    done = len(asks) - len(left)
    with (
        naming(path),
        open(path, "a") as file,
        tqdm(total=len(asks), initial=done, desc="asks") as bar,
    ):
        for batch in _batches(left, requests):
            shown = [present(requests[each.key], each.slots) for each in batch]
            for each, row in zip(batch, _rows(oracles[batch[0].part], batch, shown), strict=True):
                file.write(json.dumps(sealed(row)) + "\n")
                known[each] = _reply(row)
            file.flush()
            bar.update(len(batch))
    return {each: known[each] for each in asks}


def read_replies(path: Path) -> dict[Ask, Reply]:
    """The replies in the file; a line that a killed audit did not finish is cut off."""
    if not path.exists():
        return {}
    os.truncate(path, read_bytes(path, "choose another --workdir").rfind(b"\n") + 1)
    lines = read_json_lines(path)
    warn_of_unsealed((line.row for line in lines), path)
    return dict(_checked(row, f"{path}, line {number},") for number, row in lines)


def _checked(row: Mapping[str, Any], place: str) -> tuple[Ask, Reply]:
    """A line's ask and reply.

    Raises:
      UserError: it was changed since it was written, or is no reply.
    """
    remedy = "delete the line, and the same command asks again"
    entry = unsealed(row)
    if entry is None:
        raise UserError(f"{place} was changed since it was written; {remedy}")
    try:
        slots = tuple(map(operator.index, entry["slots"]))
        if len(set(slots)) != len(slots) or len(slots) != len(entry["oracle_ranks"]):
            raise ValueError("slots and oracle_ranks do not fit")
        if entry["part"] not in PARTS or not isinstance(entry["group"], str):
            raise ValueError(f"part is {entry['part']!r:.40}, group {entry['group']!r:.40}")
        return Ask(entry["part"], entry["group"], slots), _reply(entry)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{place} is not a reply ({error!r:.200}); {remedy}") from error


def present(request: RankRequest, slots: Sequence[int]) -> RankRequest:
    """The request with only the answers of `slots`, in this order.

    Example: `present(request, (2, 0)).responses` are the third and the first.
    """
    return dataclasses.replace(
        request,
        responses=tuple(request.responses[index] for index in slots),
        truncated=tuple(request.truncated[index] for index in slots),
    )


def spent(oracle: Oracle) -> Counter[str]:
    """Calls, retries and tokens of the served models in an Oracle so far; empty without one."""
    total: Counter[str] = Counter()
    if hasattr(oracle, "client"):
        total.update(dataclasses.asdict(oracle.client.spent))
    for inner in (getattr(oracle, "inner", None), *getattr(oracle, "members", ())):
        total.update(spent(inner) if inner is not None else {})
    return total


def _batches(asks: Sequence[Ask], requests: Mapping[str, RankRequest]) -> Iterator[list[Ask]]:
    """Asks of one part and one size: an Oracle on a device needs batches of one size."""

    def kind(each: Ask) -> tuple[int, int]:
        return PARTS.index(each.part), len(each.slots)

    for _, alike in itertools.groupby(sorted(asks, key=kind), kind):
        alike = list(alike)
        yield from (alike[start : start + BATCH] for start in range(0, len(alike), BATCH))


def _rows(
    oracle: Oracle, batch: Sequence[Ask], shown: Sequence[RankRequest]
) -> Iterator[dict[str, Any]]:
    """Lines of the file. What a batch used is divided among its asks, so that sums are right."""
    before, start = spent(oracle), time.monotonic()
    rankings = ask(oracle, shown, "skip", tie_identical=False)  # whether it does is measured
    used = {name: count / len(batch) for name, count in (spent(oracle) - before).items()}
    used["wall"] = (time.monotonic() - start) / len(batch)
    for each, request, ranking in zip(batch, shown, rankings, strict=True):
        own = {"part": each.part, "group": each.key, "slots": list(each.slots)}
        told = {"raw": ranking.raw, "seconds": ranking.seconds, "used": used}
        yield own | to_row(request, ranking) | told


def _reply(row: Mapping[str, Any]) -> Reply:
    ranks = tuple(row["oracle_ranks"])
    invalid = Ranking.invalid(row["reason"] or "not said", len(ranks))
    ranking = Ranking(ranks) if row["valid"] else invalid
    return Reply(tuple(row["slots"]), ranking, row)
