r"""Preference pairs: two answers of which one is preferred, as JSON lines.

The fields are those of VLM-RLAIF's preference file (yonseivnl/vlm-rlaif at 610cac7), with the path
of the video instead of 50 paths of frames:

    {"id", "video", "conversations": [{"from": "human", "value": "<image>\nQUESTION"},
     {"from": "gpt", "value": ""}], "output_1": {"from": "gpt", "value": TEXT}, "output_2": {...},
     "preference": 1 or 2}

An output that was cut off without an end token has "truncated": true.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orl_jax.data.text.prompt import IMAGE_TOKEN, strip_all
from orl_jax.run.errors import UserError
from orl_jax.run.files import read_json_lines


def preference(
    item: dict[str, Any], outputs: Sequence[tuple[str, bool]], preferred: int
) -> dict[str, Any]:
    """One line of the file, as an object.

    Args:
      item: the data item that was asked about.
      outputs: two answers, each as (text, truncated).
      preferred: 0 or 1, the better one.
    """
    first, second = ({"from": "gpt", "value": text, "truncated": cut} for text, cut in outputs)
    return {
        "id": item["item_id"],
        "video": item["video"],
        "conversations": [
            {"from": "human", "value": f"{IMAGE_TOKEN}\n{item['question']}"},
            {"from": "gpt", "value": ""},
        ],
        "output_1": first,
        "output_2": second,
        "preference": preferred + 1,
    }


def read_preferences(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The pairs as data items: {"item_id", "video", "question", "answers", "ranks"}.

    "answers" are (text, truncated), the preferred one first; "ranks" are (0, 1).

    Raises:
      UserError: the file is missing or empty; a line is not JSON or lacks a field.

    Example: `read_preferences("runs/demo/preferences.jsonl")[0]["answers"][0]`.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise UserError(
            f"no preference pairs in {path}; run scripts/make_preferences.py first, or set "
            "config.reward.pairs (of a ranker config.ranker.orders) to a file"
        )
    pairs = [_parse(row, f"{path}, line {number},") for number, row in read_json_lines(path)]
    if not pairs:
        raise UserError(f"{path} holds no preference pairs")
    return pairs


def _parse(row: dict[str, Any], place: str) -> dict[str, Any]:
    try:
        question = strip_all(_text(row["conversations"][0], "value"), (IMAGE_TOKEN,))
        answers = [_answer(row[name]) for name in ("output_1", "output_2")]
        if row["preference"] not in (1, 2) or isinstance(row["preference"], bool):
            raise ValueError(f"preference is {row['preference']!r:.40}; it must be 1 or 2")
        better = row["preference"] - 1
        return {
            "item_id": str(row["id"]),
            "video": _text(row, "video"),
            "question": question,
            "answers": (answers[better], answers[1 - better]),
            "ranks": (0.0, 1.0),
        }
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{place} is not a preference pair ({error!r:.200}); fix or delete the line"
        ) from error


def _answer(output: dict[str, Any]) -> tuple[str, bool]:
    return _text(output, "value"), output.get("truncated", False) is True


def _text(row: Mapping[str, Any], name: str) -> str:
    if not isinstance(row[name], str):
        raise ValueError(f"{name} is {row[name]!r:.40}; it must be a string")
    return row[name]
