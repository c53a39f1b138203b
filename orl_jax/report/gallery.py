"""The gallery: responses before and after RL, and items that RL fixed, left wrong or broke.

Nothing is picked by hand: the rules are below, and the page states them.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orl_jax.report.frames import Frames
from orl_jax.report.record import Json, Record
from orl_jax.report.wording import Number

EXAMPLES = 2  # evaluation items of each kind and task type
# kind -> (was SFT right, is RL right)
KINDS = {
    "fixed": (False, True),
    "still wrong": (False, False),
    "broken": (True, False),
    "right": (True, True),
}


@dataclasses.dataclass(frozen=True)
class Response:
    """One answer of a group; `bar` is its advantage as a share of the largest one shown."""

    text: str
    oracle_rank: Number
    predicted_rank: Number
    log_prob: Number | None
    advantage: Number
    bar: Number
    is_reference: bool


@dataclasses.dataclass(frozen=True)
class Group:
    """The responses to one prompt at one step, the Oracle's best first."""

    step: int
    question: str
    reference: str
    video: str
    frames: Sequence[str]
    responses: Sequence[Response]
    valid: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Item:
    """An evaluation item; `answers` holds (model, response, correct): SFT, control, RL."""

    question: str
    reference: str
    paraphrases: Sequence[str]
    video: str
    frames: Sequence[str]
    answers: Sequence[tuple[str, str, bool]]


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A task type.

    Attributes:
      before, after: a group of an early and of a late step, or None.
      same_prompt: whether they answer the same prompt.
      counts: kind of `KINDS` -> number of test items; empty without predictions of both SFT and RL.
      items: kind -> examples.
    """

    task_type: str
    before: Group | None
    after: Group | None
    same_prompt: bool
    counts: Mapping[str, int]
    items: Mapping[str, Sequence[Item]]


def gallery(record: Record, frames: Frames) -> list[Chapter]:
    """A chapter for each task type that has rollouts or predictions, in alphabetical order.

    The pair of groups: among prompts that were answered twice, the one with the longest time
    between (then the smaller hash of its name), where the Oracle told the early answers apart.
    Where no prompt came twice: the first group that has a signal, and the last one. The items: by
    hash of their name.
    """
    pairs = {name: _pair(record, name) for name in _task_types(record)}
    shown = [g for before, after in pairs.values() for g in (before, after) if g is not None]
    largest = max((abs(a) for g in shown for a in g.get("advantages", ())), default=0.0) or 1.0
    return [_chapter(record, name, pair, largest, frames) for name, pair in pairs.items()]


def _task_types(record: Record) -> list[str]:
    groups = (group for step in record.rollout_steps() for group in record.rollouts[step])
    items = (
        item for key in ("sft_test", "rl_test") for item in record.predictions.get(key, {}).values()
    )
    return sorted(
        {str(row["task_type"]) for rows in (groups, items) for row in rows if row.get("task_type")}
    )


def _chapter(
    record: Record,
    name: str,
    pair: tuple[Json | None, Json | None],
    largest: Number,
    frames: Frames,
) -> Chapter:
    before, after = pair
    kinds = _kinds(record, name)
    return Chapter(
        task_type=name,
        before=_group(before, largest, frames),
        after=_group(after, largest, frames),
        same_prompt=bool(before and after and before["prompt_id"] == after["prompt_id"]),
        counts={kind: len(ids) for kind, ids in kinds.items()} if any(kinds.values()) else {},
        items={
            kind: [_item(record, item_id, frames) for item_id in sorted(ids, key=_hash)[:EXAMPLES]]
            for kind, ids in kinds.items()
            if kind != "right"
        },
    )


def _pair(record: Record, name: str) -> tuple[Json | None, Json | None]:
    groups = [
        group
        for step in record.rollout_steps()
        for group in record.rollouts[step]
        if group.get("task_type") == name and group.get("responses")
    ]
    first: dict[Any, Json] = {}
    again: list[tuple[Json, Json]] = []
    for group in groups:
        before = first.get(group.get("prompt_id"))
        if before is None and _has_signal(group):
            first[group.get("prompt_id")] = group
        elif before is not None and group["step"] > before["step"]:
            again.append((before, group))
    if again:
        return min(
            again, key=lambda p: (p[0]["step"] - p[1]["step"], _hash(str(p[0]["prompt_id"])))
        )
    before = next(iter(first.values()), None)
    later = [g for g in groups if _has_signal(g) and before and g["step"] > before["step"]]
    return before, later[-1] if later else None


def _has_signal(group: Json) -> bool:
    return bool(group.get("valid", True)) and len(set(group.get("oracle_ranks") or ())) > 1


def _group(group: Json | None, largest: Number, frames: Frames) -> Group | None:
    if group is None:
        return None
    responses = [_response(group, i, largest) for i in range(len(group["responses"]))]
    return Group(
        step=group["step"],
        question=group.get("question", ""),
        reference=group.get("reference", ""),
        video=group.get("video", ""),
        frames=frames(group.get("video", "")),
        responses=sorted(responses, key=lambda r: (r.oracle_rank, r.predicted_rank)),
        valid=bool(group.get("valid", True)),
        reason=group.get("reason", ""),
    )


def _response(group: Json, i: int, largest: Number) -> Response:
    def at(key: str) -> Number | None:
        values = group.get(key) or ()
        return values[i] if i < len(values) else None

    advantage = at("advantages") or 0.0
    text = group["responses"][i]
    return Response(
        text=text,
        oracle_rank=at("oracle_ranks") or 0.0,
        predicted_rank=at("predicted_ranks") or 0.0,
        log_prob=at("log_probs"),
        advantage=advantage,
        bar=max(-1.0, min(1.0, advantage / largest)),
        is_reference=_plain(text) == _plain(group.get("reference", "")),
    )


def _kinds(record: Record, name: str) -> dict[str, list[str]]:
    """Kind -> ids of the test items of one task type, for items that both models answered."""
    sft, rl = (record.predictions.get(f"{model}_test", {}) for model in ("sft", "rl"))
    kinds: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for item_id in sft.keys() & rl.keys():
        if sft[item_id].get("task_type") == name:
            correct = (bool(sft[item_id]["correct"]), bool(rl[item_id]["correct"]))
            kinds[next(kind for kind, pattern in KINDS.items() if pattern == correct)].append(
                item_id
            )
    return kinds


def _item(record: Record, item_id: str, frames: Frames) -> Item:
    rows = {
        m: record.predictions.get(f"{m}_test", {}).get(item_id) for m in ("sft", "control", "rl")
    }
    row = rows["rl"] or {}
    return Item(
        question=row.get("question", ""),
        reference=row.get("reference", ""),
        paraphrases=_others(row.get("paraphrases") or (), row.get("reference", "")),
        video=row.get("video", ""),
        frames=frames(row.get("video", "")),
        answers=[(m, r["response"], bool(r["correct"])) for m, r in rows.items() if r],
    )


def _others(paraphrases: Iterable[str], reference: str) -> list[str]:
    return [text for text in paraphrases if text != reference]


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def _hash(name: str) -> str:
    """An order that has nothing to do with the items, and is the same on every machine."""
    return hashlib.sha256(name.encode()).hexdigest()
