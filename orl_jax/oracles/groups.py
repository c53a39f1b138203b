"""Groups of answers with an order, as JSON lines: rollouts, people's orders, a judge's orders.

One prompt per line. Required keys are `prompt_id`, `question` and `responses`; optional are
`truncated`, `video`, `reference`, `paraphrases`, `task_type` and `narrative`, and for the order
`oracle_ranks`, `oracle_scores`, `valid` and `reason`. Other keys are ignored. Rank 0 is the best;
tied answers share the mean of the ranks that they occupy:

    {"prompt_id": "7", "question": "Red?", "responses": ["no", "yes", "no", "No."],
     "video": "videos/7.mp4", "oracle_ranks": [2, 0, 2, 2]}
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orl_jax.oracles.protocol import RankRequest
from orl_jax.oracles.ranking import Ranking
from orl_jax.run.errors import UserError
from orl_jax.run.files import read_json_lines
from orl_jax.run.reading import text, texts

LARGEST = 1024  # responses of a group


class Group(NamedTuple):
    """Answers to one prompt and, if known, their order."""

    request: RankRequest
    ranking: Ranking | None


def read_groups(path: str | os.PathLike[str], folder: str = "") -> list[Group]:
    """The groups of a file, in its order.

    Args:
      path: for example WORKDIR/rollouts/STEP.jsonl.
      folder: what the videos' paths are relative to.

    Raises:
      UserError: the file is missing or empty; a line is not a group.

    Example: `read_groups("runs/demo/rollouts/150.jsonl", "data/shapes")[0].request.responses`.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise UserError(
            f"no groups of answers in {path}; RL writes some to WORKDIR/rollouts/STEP.jsonl, "
            "scripts/make_preferences.py to WORKDIR/groups.jsonl"
        )
    lines = read_json_lines(path)
    if not lines:
        raise UserError(f"{path} holds no groups of answers")
    return [_parse(row, f"{path}, line {number},", folder) for number, row in lines]


def to_row(request: RankRequest, ranking: Ranking | None) -> dict[str, Any]:
    """A group as a JSON object, which `read_groups` with folder "" reads."""
    row = {
        "prompt_id": request.prompt_id,
        "task_type": request.task_type,
        "video": request.video,
        "question": request.question,
        "reference": request.reference,
        "paraphrases": list(request.paraphrases),
        "narrative": request.narrative,
        "responses": list(request.responses),
        "truncated": list(request.truncated),
    }
    if ranking is None:
        return row
    return row | {
        "oracle_ranks": list(ranking.ranks),
        "oracle_scores": list(ranking.scores),
        "valid": ranking.valid,
        "reason": ranking.reason,
    }


def _parse(row: Mapping[str, Any], place: str, folder: str) -> Group:
    try:
        video = text(row, "video")
        request = RankRequest(
            prompt_id=str(row["prompt_id"]),
            question=text({"question": row["question"]}, "question", ""),
            responses=_responses(row),
            truncated=_flags(row),
            video=os.path.join(folder, video) if video else None,
            reference=text(row, "reference"),
            paraphrases=texts(row, "paraphrases"),
            task_type=text(row, "task_type"),
            narrative=text(row, "narrative"),
        )
        return Group(request, _ranking(row, request.size))
    except (ValueError, KeyError, TypeError) as error:
        what = str(error) if isinstance(error, ValueError) else repr(error)
        raise UserError(
            f"{place} is not a group of answers ({what}); fix or delete the line"
        ) from error


def _responses(row: Mapping[str, Any]) -> tuple[str, ...]:
    found = texts({"responses": row["responses"]}, "responses")
    if len(found) > LARGEST:
        raise ValueError(f"{len(found)} responses; at most {LARGEST} are put in order")
    return found


def _flags(row: Mapping[str, Any]) -> tuple[bool, ...]:
    flags = row.get("truncated") or ()
    if not isinstance(flags, list | tuple) or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(f"truncated must be a list of true and false, not {flags!r:.40}")
    return tuple(flags)


def _ranking(row: Mapping[str, Any], size: int) -> Ranking | None:
    ranks = row.get("oracle_ranks")
    if not ranks:
        return None
    if not row.get("valid", True):
        return Ranking.invalid(text(row, "reason") or "not said", size)
    _check_numbers(ranks, "oracle_ranks")
    _check_numbers(row.get("oracle_scores") or [], "oracle_scores")
    if len(ranks) != size:
        raise ValueError(f"{len(ranks)} oracle_ranks for {size} responses")
    try:
        return Ranking(tuple(ranks), scores=tuple(row.get("oracle_scores") or ()))
    except ValueError as error:
        if "mean ranks" not in str(error):
            raise
        raise ValueError(
            f"oracle_ranks are {ranks}; 0 is the best, and tied answers share the mean of their "
            "ranks: [2, 0, 2, 2] where the second is best and the others are tied"
        ) from error


def _check_numbers(values: Any, name: str) -> None:
    plain = isinstance(values, list) and not any(isinstance(value, bool) for value in values)
    if not plain or not all(isinstance(value, int | float) for value in values):
        raise ValueError(f"{name} must be a list of numbers, not {values!r:.40}")
