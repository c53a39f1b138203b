"""All questions about a video as one example, so that SFT encodes the video once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from orl_jax.data.example import ANSWERS, ExampleReader
from orl_jax.data.text.prompt import asked


def group_by_video(items: Sequence[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Lessons of at most `size` items about one video each, in the order of the items.

    A lesson is {"item_id", "video", "items"}; `item_id` is that of its first item.

    Example: 5 items about one video with size 4 make lessons of 4 and 1 items.
    """
    open_lessons: dict[str, dict[str, Any]] = {}
    lessons = []
    for item in items:
        lesson = open_lessons.get(item["video"])
        if lesson is None or len(lesson["items"]) == size:
            lesson = {"item_id": item["item_id"], "video": item["video"], "items": []}
            open_lessons[item["video"]] = lesson
            lessons.append(lesson)
        lesson["items"].append(item)
    return lessons


class LessonReader(ExampleReader):
    """Lessons as arrays: "frames"; "prompt_ids" and "prompt_mask" [O], the opening that all
    questions share; "turn_ids" int32 [Q, U], "turn_mask" and "target_mask" bool [Q, U].

    Args:
      questions: Q; lessons with fewer are padded with empty turns.
      settings: as for `ExampleReader`.
    """

    def __init__(self, *, questions: int, answers: str, **settings: Any) -> None:
        super().__init__(answers=answers, **settings)
        self._questions = questions
        encoder = self._encoder
        opening = len(encoder.encode_opening()[0])
        turn = (questions, encoder.prompt_length - opening + encoder.response_length)
        self.layout = {
            "frames": self.layout["frames"],
            "prompt_ids": ((opening,), np.int32),
            "prompt_mask": ((opening,), np.bool_),
            "turn_ids": (turn, np.int32),
            "turn_mask": (turn, np.bool_),
            "target_mask": (turn, np.bool_),
        }
        self._answer_key = ANSWERS[answers]

    def _texts(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        prompt_ids, prompt_mask = self._encoder.encode_opening()
        arrays = {"prompt_ids": prompt_ids, "prompt_mask": prompt_mask}
        for name in ("turn_ids", "turn_mask", "target_mask"):
            shape, dtype = self.layout[name]
            arrays[name] = np.full(shape, self._encoder.pad_id if name == "turn_ids" else 0, dtype)
        for row, question in enumerate(item["items"]):
            turn = self._encoder.encode_turn(asked(question), question[self._answer_key])
            arrays["turn_ids"][row], arrays["turn_mask"][row], arrays["target_mask"][row] = turn
        return arrays
