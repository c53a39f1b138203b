"""Makes requests to an Oracle from data items and decoded responses."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from orl_jax.data.text.prompt import asked
from orl_jax.oracles.protocol import RankRequest

Text = tuple[str, bool]  # a response and whether it is truncated; see `PromptEncoder.decode`


def make_requests(
    items: Sequence[Mapping[str, Any]], texts: Sequence[Sequence[Text]], folder: str
) -> list[RankRequest]:
    """One request per item, about the responses to its question.

    Args:
      items: data items; see `orl_jax.data.source.open_split`.
      texts: the responses to each item.
      folder: what the items' video paths are relative to.

    Example: `make_requests([item], [[("It is red.", False), ("Red", True)]], "data/shapes")`.
    """
    return [
        RankRequest(
            prompt_id=item["item_id"],
            question=asked(item),
            responses=tuple(text for text, _ in group),
            truncated=tuple(truncated for _, truncated in group),
            video=str(pathlib.Path(folder) / item["video"]),
            reference=item["answer"],
            paraphrases=tuple(item["paraphrases"]),
            task_type=item["task_type"],
        )
        for item, group in zip(items, texts, strict=True)
    ]
