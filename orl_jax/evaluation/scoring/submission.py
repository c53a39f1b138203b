"""Video-MME's own form of results: a JSON list of videos with their questions and responses.

As `evaluation/output_test_template.json` of BradyFU/Video-MME; the June 2024 names of keys
(`duration_category`, `video_category`, `video_subcategory`, `choices`) are also read.

The official script (thanku-all/parse_answer) asserts 300 videos per duration, unless it is given
`skip_missing`; but then it reads "missing" of every video, so each has that key here.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from orl_jax.run.errors import UserError
from orl_jax.run.files import write_atomic

OF_VIDEO = ("duration", "domain", "sub_category")
_OLD = {
    "duration": "duration_category",
    "domain": "video_category",
    "sub_category": "video_subcategory",
    "options": "choices",
}


def is_submission(records: Any) -> bool:
    """Whether JSON is a list of videos with questions."""
    listed = isinstance(records, list) and bool(records)
    return listed and all(isinstance(video, dict) and "questions" in video for video in records)


def from_submission(videos: Sequence[dict[str, Any]], place: str = "") -> list[dict[str, Any]]:
    """One item per question; videos marked `missing` are left out, as by `skip_missing`.

    Raises:
      UserError: a question without its id or response; `place` is named.

    Example: `from_submission(json.load(file))[0]["item_id"] == "001-1"`.
    """
    for video in videos:
        if not isinstance(video["questions"], list):
            raise UserError(
                f"{place}: the questions of the video {video.get('video_id')!r:.40} are not a list"
            )
    return [
        _item(video, question, place)
        for video in videos
        if not video.get("missing")
        for question in video["questions"]
    ]


def to_submission(
    items: Sequence[dict[str, Any]], missing: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """The form, one record per video.

    Args:
      items: with `video_id` or `video`, `duration`, `domain`, `sub_category`, `task_type`,
        `question`, `options`, `reference` and `response`.
      missing: items whose video cannot be read, of which the first four are needed, or a data set's
        own ones, which have them in "extra". Their videos are marked and have no questions.

    Raises:
      UserError: an item lacks one.

    Example: `to_submission(items)[0]["questions"][0]["response"]`.
    """
    videos: dict[str, dict[str, Any]] = {}
    for item in items:
        _need(item, ("video", *OF_VIDEO, "task_type", "question", "options", "reference"))
        video = _video(item, missing=False)
        videos.setdefault(video["video_id"], video)["questions"].append(
            {
                "question_id": item["item_id"],
                "task_type": item["task_type"],
                "question": item["question"],
                "options": list(item["options"]),
                "answer": item["reference"],
                "response": item["response"],
            }  # fmt: skip
        )
    for item in map(_flat, missing):
        _need(item, ("video", *OF_VIDEO))
        video = _video(item, missing=True)
        videos.setdefault(video["video_id"], video)
    return list(videos.values())


def write_submission(
    path: str | pathlib.Path,
    items: Sequence[dict[str, Any]],
    missing: Sequence[dict[str, Any]] = (),
) -> None:
    """Writes `to_submission` as JSON; makes the folder.

    Raises:
      UserError: as `to_submission`.
    """
    path = pathlib.Path(path)
    text = json.dumps(to_submission(items, missing), ensure_ascii=False, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text + "\n")


def _need(item: dict[str, Any], names: Sequence[str]) -> None:
    if lacking := [name for name in names if not item.get(name)]:
        raise UserError(
            f"item {item['item_id']!r} has no {lacking[0]}; Video-MME's form needs "
            f"{', '.join(names)}"
        )


def _video(item: dict[str, Any], *, missing: bool) -> dict[str, Any]:
    # Of a built data set "video" is a path.
    name = item.get("video_id") or item["video"]
    about = {key: item[key] for key in OF_VIDEO}
    return {"video_id": name, **about, "missing": missing, "questions": []}


def _flat(item: dict[str, Any]) -> dict[str, Any]:
    extra = item.get("extra") or {}
    return {**(json.loads(extra) if isinstance(extra, str) else extra), **item}


def _item(video: dict[str, Any], question: Any, place: str) -> dict[str, Any]:
    try:
        item = {
            "item_id": question["question_id"], "response": question["response"],
            "reference": question["answer"], "task_type": question.get("task_type", ""),
            "question": question.get("question", ""), "video": video.get("video_id", ""),
        }  # fmt: skip
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{place}: a question of the video {video.get('video_id')!r} lacks {error}; give "
            "question_id, answer and response"
        ) from error
    item |= {name: _either(video, name) for name in OF_VIDEO}
    return {**item, "options": _either(question, "options")}


def _either(record: dict[str, Any], name: str) -> Any:
    return record.get(name, record.get(_OLD[name], ""))
