"""Several answers to one question, as items and as arrays, with their order where it is known.

Items hold {"item_id", "video", "question", "answers"}, the answers as pairs (text, truncated), and
for training "ranks": one for each answer, 0 is best, ties share their mean rank.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from orl_jax.data.example import ExampleReader
from orl_jax.oracles.groups import Group, read_groups
from orl_jax.run.errors import UserError


class AnswersReader(ExampleReader):
    """Reads examples that have "response_ids" int32 and "response_mask" bool [G, T] in addition to
    "frames", "prompt_ids" and "prompt_mask" [L].

    Args:
      response_length: T; longer answers are cut.
      others: those of `ExampleReader`.
    """

    def __init__(self, *, response_length: int, **settings: Any) -> None:
        super().__init__(answers=None, **settings)
        self._length = response_length

    def empty(self, answers: int) -> dict[str, np.ndarray]:
        """An example of zeros with this number of answers."""
        zeros = {name: np.zeros(shape, dtype) for name, (shape, dtype) in self.layout.items()}
        shape = (answers, self._length)
        return zeros | {
            "response_ids": np.zeros(shape, np.int32), "response_mask": np.zeros(shape, np.bool_)
        }  # fmt: skip

    def _texts(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        encode = self._encoder.encode_sampled
        answers = [encode(*answer, self._length) for answer in item["answers"]]
        ids, masks = (np.stack(arrays) for arrays in zip(*answers, strict=True))
        return super()._texts(item) | {"response_ids": ids, "response_mask": masks}


class OrderReader(AnswersReader):
    """Reads answers in a known order: examples also have "ranks" float32 [G].

    Args:
      group_size: G, of all items.
      others: those of `AnswersReader`.
    """

    def __init__(self, *, group_size: int, **settings: Any) -> None:
        super().__init__(**settings)
        shape = (group_size, self._length)
        self.layout["response_ids"] = (shape, np.int32)
        self.layout["response_mask"] = (shape, np.bool_)
        self.layout["ranks"] = ((group_size,), np.float32)

    def _texts(self, item: dict[str, Any]) -> dict[str, np.ndarray]:
        return super()._texts(item) | {"ranks": np.asarray(item["ranks"], np.float32)}


def read_lists(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The groups of a file (`orl_jax.oracles.groups`) as items to train a ranker on.

    Groups without a valid order, and those in which all answers are tied, teach nothing and are
    left out.

    Raises:
      UserError: no file, a bad line, groups of different sizes or without a video, none to learn
        from.

    Example: `read_lists("runs/demo/groups.jsonl")[0]["ranks"]`.
    """
    groups = [group for group in read_groups(path) if _teaches(group)]
    sizes = sorted({group.request.size for group in groups})
    if len(sizes) != 1:
        what = f"groups of {sizes} answers" if sizes else "no group with an order to learn from"
        raise UserError(f"{path} holds {what}; a ranker learns from groups of one size")
    if blind := next((g.request.prompt_id for g in groups if not g.request.video), None):
        raise UserError(f"{path}: the group {blind} names no video, which a ranker needs")
    return [_item(group) for group in groups]


def _teaches(group: Group) -> bool:
    return group.ranking is not None and group.ranking.valid and len(set(group.ranking.ranks)) > 1


def _item(group: Group) -> dict[str, Any]:
    request = group.request
    return {
        "item_id": request.prompt_id,
        "video": request.video,
        "question": request.question,
        "answers": tuple(zip(request.responses, request.truncated, strict=True)),
        "ranks": group.ranking.ranks,
    }


def group_size(items: Sequence[dict[str, Any]]) -> int:
    """How many answers each item has."""
    return len(items[0]["answers"])
