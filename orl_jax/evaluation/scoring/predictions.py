"""Files of predictions: JSON lines, as `scripts/evaluate.py` writes them.

Each line needs `item_id` and `response`; `task_type`, `question`, `reference`, `paraphrases` and
others if the protocol asks for them. A file that is a JSON list of videos is read as Video-MME's
submission form, another list for Video-ChatGPT's predictions (see `generation`).
"""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from orl_jax.evaluation.scoring.submission import OF_VIDEO, from_submission, is_submission
from orl_jax.run.errors import UserError
from orl_jax.run.files import parse_json_lines
from orl_jax.run.reading import parse_json, read_text, text, texts

Item = dict[str, Any]
_TEXTS = ("task_type", "video", "video_id", "question", *OF_VIDEO)  # where an item has them
_REMEDY = "give a file of predictions, such as scripts/evaluate.py writes to WORKDIR/predictions"


def read_predictions(path: str | pathlib.Path) -> list[Item]:
    """The items of a file, in its order.

    Raises:
      UserError: no such file, a line that is not a JSON object, an item without its id or response,
        two items with one id, or none at all.

    Example: `read_predictions("runs/mine/evaluation/predictions/rl_test.jsonl")[0]["response"]`.
    """
    path = pathlib.Path(path)
    text = read_text(path, _REMEDY)
    if text.lstrip().startswith("["):
        items = _from_list(text, path)
    else:
        items = [row for _, row in parse_json_lines(text, str(path))]
    if not items:
        raise UserError(f"{path} has no predictions; evaluate with more than 0 items")
    _check(items, path)
    return items


def need(items: Iterable[Item], names: Sequence[str], why: str) -> None:
    """Checks that every item has texts under these names.

    Raises:
      UserError: the first that lacks one; `why` says who needs it.

    Example: `need(items, ["reference"], "--protocol=text")`.
    """
    for item in items:
        for name in names:
            if not isinstance(item.get(name), str):
                raise UserError(
                    f"item {item['item_id']!r} has {name} = {item.get(name)!r}; "
                    f"{why} needs a text there"
                )


def task_type(item: Item) -> str:
    """The item's task type; "" without one."""
    return str(item.get("task_type") or "")


def _from_list(text: str, path: pathlib.Path) -> list[Item]:
    records = parse_json(text, str(path), "was it written completely?", list)
    if is_submission(records):
        return from_submission(records, str(path))
    if bad := [record for record in records if not isinstance(record, dict)]:
        raise UserError(f"{path} lists {bad[0]!r:.40}; give a list of JSON objects")
    return _named(records)


def _named(records: Sequence[Item]) -> list[Item]:
    """Video-ChatGPT's records under our names; ids as in its scripts: the video and a count."""
    names = {
        "Q": "question", "Q1": "question", "Q2": "question_2", "A": "reference",
        "pred": "response", "pred1": "response", "pred2": "response_2",
    }  # fmt: skip
    count: dict[str, int] = {}
    items = []
    for record in records:
        item = {names.get(key, key): value for key, value in record.items()}
        video = str(record.get("video_name", ""))
        if "item_id" not in item and video:
            item["item_id"] = f"{video}_{count.setdefault(video, 0)}"
            count[video] += 1
        items.append(item)
    return items


def _check(items: Sequence[Item], path: pathlib.Path) -> None:
    seen: set[str] = set()
    for place, item in enumerate(items, 1):
        for name in ("item_id", "response"):
            if not isinstance(item.get(name), str):
                raise UserError(
                    f"{path}, item {place} has {name} = {item.get(name)!r}; give a text"
                )
        try:
            for name in ("paraphrases", "options"):
                texts({name: item.get(name) or None}, name)
            for name in _TEXTS:
                text(item, name)
        except ValueError as error:
            raise UserError(f"{path}, item {place}: {error}") from error
        if item["item_id"] in seen:
            raise UserError(
                f"{path} has the item {item['item_id']!r} twice; every item_id must be there once"
            )
        seen.add(item["item_id"])
