"""The embedded world as multiple choice, in the official form of Video-MME.

FOLDER/video_mme/shapes.json    a list of the videos of the split "test" with their questions

The reader of the real benchmark (`orl_jax.data.benchmarks.video_mme`) reads it, and the official
script scores it, as task types, duration, domain and sub-category are names that it knows.

The options of a question are its reference answer and at most three false answers. Not every answer
with another value is false: an object that appears also stays still.
"""

import hashlib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from orl_jax.data.source import open_split
from orl_jax.data.world.question import VALUES, Question, possible
from orl_jax.data.world.scene import Scene
from orl_jax.data.world.scene_labels import scene_from_json
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json

FILE = "video_mme/shapes.json"
SPLIT = "test"
TASK_TYPES = {
    "action recognition": "Action Recognition",
    "attribute perception": "Attribute Perception",
    "counting": "Counting Problem",
    "object recognition": "Object Recognition",
    "spatial perception": "Spatial Perception",
    "temporal perception": "Temporal Perception",
}
LETTERS = "ABCD"
_MIDDLE = (0.4, 0.6)  # across the lanes: an object there is on neither side
_ABOUT = {"duration": "short", "domain": "Film & Television", "sub_category": "Animation"}


def write_video_mme(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Writes the test split of the world in `folder`; deterministic.

    Returns:
      FOLDER/video_mme/shapes.json.

    Raises:
      UserError: no world is built there, or an item does not match its scene.

    Example: `write_video_mme("data/shapes")`, then prepare_data.py with
    `--config.source.name=shapes_choice --config.source.folder=data/shapes/video_mme
    --config.source.videos=data/shapes/videos/test`.
    """
    path = pathlib.Path(folder) / FILE
    items = sorted(open_split(folder, SPLIT), key=lambda item: item["item_id"])
    videos: dict[str, dict[str, Any]] = {}
    for item in items:
        name = pathlib.Path(item["video"]).stem
        video = {"video_id": name, **_ABOUT, "url": "", "videoID": name, "questions": []}
        videos.setdefault(name, video)["questions"].append(choice(item))
    write_json(path, list(videos.values()))
    return path


def choice(item: dict[str, Any]) -> dict[str, Any]:
    """An item of the embedded world as a question of Video-MME.

    Args:
      item: has "item_id", "task_type", "question", "answer" and "scene".

    Raises:
      UserError: its scene has no such question and answer.

    Example: `choice(item)["options"][0] == "A. The red circle bounces back."`.
    """
    scene = scene_from_json(item["scene"])
    question = _question(item, scene)
    wrong = _shuffled(false_values(question, scene), item["item_id"], "choice")
    values = [question.value, *wrong[: len(LETTERS) - 1]]
    values = _shuffled(values, item["item_id"], "order")
    options = [
        f"{letter}. {question.answers(value)[0]}"
        for letter, value in zip(LETTERS, values, strict=False)
    ]
    return {
        "question_id": item["item_id"].rpartition("/")[2],
        "task_type": TASK_TYPES[item["task_type"]],
        "question": item["question"],
        "options": options,
        "answer": LETTERS[values.index(question.value)],
    }


def false_values(question: Question, scene: Scene) -> list[str]:
    """The values that are false answers to a question about a scene.

    Example: of a red circle that vanishes in the topmost row, at the left, "What does it do?" lacks
    "vanish" and "still", and "Where is it?" lacks "left" and "top".
    """
    true = {question.value, *_also_true(question, scene)}
    return [value for value in VALUES[question.task_type] if value not in true]


def _also_true(question: Question, scene: Scene) -> Sequence[str]:
    """Further values that are true: of objects that move both ways, rest, or are at a side."""
    if question.task_type == "action recognition":
        ways = ("right", "left") if scene.rows else ("up", "down")
        return {"bounce": ways, "appear": ("still",), "vanish": ("still",)}.get(question.value, ())
    if question.task_type == "spatial perception":
        (lane,) = (thing.lane for thing in scene.things if thing.name == question.subject)
        first, last = ("top", "bottom") if scene.rows else ("left", "right")
        return (first,) * (lane < _MIDDLE[0]) + (last,) * (lane > _MIDDLE[1])
    return ()


def _question(item: dict[str, Any], scene: Scene) -> Question:
    wanted = item["task_type"], item["question"], item["answer"]
    for question in (question for some in possible(scene) for question in some):
        if (question.task_type, question.text, question.answers(question.value)[0]) == wanted:
            return question
    raise UserError(
        f"item {item['item_id']} asks {item['question']!r}, whose answer is not "
        f"{item['answer']!r} in its scene; delete the data folder and prepare it again"
    )


def _shuffled(values: Sequence[str], item_id: str, purpose: str) -> list[str]:
    """An order that depends only on the item's id, not on a random number library."""

    def key(value: str) -> bytes:
        return hashlib.sha256(f"{purpose}/{item_id}/{value}".encode()).digest()

    return sorted(values, key=key)
