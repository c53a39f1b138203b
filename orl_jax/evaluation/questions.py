"""The questions of an evaluation: which items, and how their options are asked."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from orl_jax.data.source import Items, Selection, select
from orl_jax.data.subset import spread
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.evaluation.prediction import WEIGHED, options_of
from orl_jax.evaluation.scoring.video_mme import LETTERS, option_text
from orl_jax.run.errors import UserError


class Questions(Sequence):
    """The items of a split as questions.

    With "text_likelihood" options are moved to "choices", so that prompts do not show them.

    Args:
      items: data items.
      choice: one of `CHOICES`.
      subtitles: from an item to the subtitles for its prompt; None for no subtitles.

    Raises:
      UserError: options are weighed, and an item that is looked up has none or too many.
    """

    def __init__(
        self, items: Items, choice: str, subtitles: Callable[[dict[str, Any]], str] | None = None
    ) -> None:
        self._items = items
        self._choice = choice
        self._subtitles = subtitles

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self._with_choices(self._items[index])
        return item if self._subtitles is None else item | {"subtitles": self._subtitles(item)}

    def _with_choices(self, item: dict[str, Any]) -> dict[str, Any]:
        if self._choice not in WEIGHED:
            return item
        if not 2 <= (count := len(options_of(item))) <= len(LETTERS):
            raise UserError(
                f"evaluation.choice={self._choice} weighs 2 to {len(LETTERS)} options; item "
                f"{item['item_id']} has {count}: use evaluation.choice=letter"
            )
        hidden = self._choice == "text_likelihood"
        return item | ({"choices": item["options"], "options": []} if hidden else {})


def weighed_ids(
    items: Sequence[dict[str, Any]], rows: int, encoder: PromptEncoder, choice: str
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and masks [rows, 4, T] of the options to weigh; unused rows are padding.

    Letters come without the end token, as "A" may continue as "A."; texts come with it.

    Raises:
      UserError: an option has more than T tokens.
    """
    shape = (rows, len(LETTERS), encoder.response_length)
    ids, mask = np.full(shape, encoder.pad_id, np.int32), np.zeros(shape, bool)
    for row, item in enumerate(items):
        for place, option in enumerate(options_of(item)):
            text = LETTERS[place] if choice == "letter_likelihood" else option_text(option)
            ids[row, place], mask[row, place] = encoder.encode_response(text)
    if choice == "letter_likelihood":
        mask &= ids != encoder.end_id
    return ids, mask


def chosen(items: Items, *, max_items: int, stratify: str, seed: int) -> Selection:
    """The items to ask: the first ones, or a stratified sample.

    Args:
      items: of a split.
      max_items: the most items; 0 for all.
      stratify: features that define the strata, separated by commas, such as
        "task_type,duration"; "" takes the first items.
      seed: of the sample; with the same seed fewer items are a subset of more.

    Raises:
      UserError: an item lacks a feature.

    Example: `chosen(test, max_items=300, stratify="task_type", seed=0)`.
    """
    if not stratify or not max_items:
        return select(items, max_items=max_items or None)
    strata = [_stratum(items[index], stratify.split(",")) for index in range(len(items))]
    return Selection(items, spread(strata, max_items, seed))


def _stratum(item: dict[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    features = {**json.loads(item.get("extra") or "{}"), **item}
    for name in names:
        if name not in features:
            raise UserError(
                f"evaluation.stratify={','.join(names)}: item {item['item_id']} has no {name!r}; "
                f"choose from {', '.join(sorted(features))}"
            )
    return tuple(str(features[name]) for name in names)
