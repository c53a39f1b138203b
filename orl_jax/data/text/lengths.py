"""Whether the texts of a data set fit the lengths that a model is trained with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from orl_jax.data.text.prompt import asked
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.run.errors import UserError

_SLACK = 8  # tokens that a tokenizer may add to a text, which has at most one per byte


def check_lengths(
    items: Sequence[Mapping[str, Any]], encoder: PromptEncoder, answer: str, folder: str
) -> None:
    """Refuses texts that are too long before any training, not when a step comes to them.

    Args:
      items: of the training split.
      encoder: of the model's prompts; has their lengths.
      answer: the key of an item's answer; "" where answers are not trained on.
      folder: of the data, for messages.

    Raises:
      UserError: names the setting, the value that all need, and the longest text with its item.

    Example: `check_lengths([{"item_id": "7", "question": "Why?"}], encoder, "", "data/mine")`.
    """
    prompts: dict[str, str] = {}
    answers: dict[str, str] = {}
    for item in _shown(items):
        prompts.setdefault(asked(item), item["item_id"])
        if answer:
            answers.setdefault(item[answer], item["item_id"])
    empty = encoder.prompt_size("")
    for kind, texts, size, least, limit in (
        ("prompt", prompts, encoder.prompt_size, empty, encoder.prompt_length),
        ("response", answers, encoder.response_size, 1, encoder.response_length),
    ):
        if sizes := _too_long(texts, size, least, limit):
            longest = max(sizes, key=lambda text: sizes[text])
            raise UserError(
                f"{folder}: {len(sizes)} of {len(texts)} different {kind}s are too long; the "
                f"longest ({texts[longest]}: {longest!r:.60}) has {sizes[longest]} tokens, "
                f"config.data.{kind}_tokens is {limit}: set it to {sizes[longest]}, or shorten or "
                "leave out these items"
            )


def _shown(items: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    places = tqdm(range(len(items)), "reading the questions", delay=3, leave=False)
    return (items[place] for place in places)


def _too_long(
    texts: Iterable[str], size: Callable[[str], int], least: int, limit: int
) -> dict[str, int]:
    """The sizes of texts above the limit; short ones, which most are, are not tokenised."""
    long = [text for text in texts if least + len(text.encode()) + _SLACK > limit]
    return {text: tokens for text in long if (tokens := size(text)) > limit}
