"""Whether a tokenizer knows the words of a data set: what it does not know cannot be learned."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from orl_jax.data.text.prompt import asked
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.run.errors import UserError

_AT_A_TIME = 10_000  # words


def check_words(
    items: Sequence[Mapping[str, Any]], encoder: PromptEncoder, answer: str, folder: str
) -> None:
    """Refuses answers with words that the model can never say, before any training.

    Words of questions that the tokenizer does not know are only reported: the model reads each as
    `<unk>`.

    Args:
      items: of the training split.
      encoder: of the model's prompts.
      answer: the key of an item's answer; "" where answers are not trained on.
      folder: of the data, for messages.

    Raises:
      UserError: names one such answer, some of the words, and what to do.

    Example: `check_words([{"question": "Why?", "answer": "Because"}], encoder, "answer", "data")`.
    """
    if answer and (unknown := _unknown((item[answer] for item in items), encoder)):
        item = next(item for item in items if unknown & set(_words(item[answer])))
        raise UserError(
            f"{folder}: {len(unknown)} words of the answers can never be said, as the tokenizer "
            f"has no token for them: {_some(unknown)} (the first in the answer "
            f"{item[answer]!r:.80}). Set config.data.tokenizer to a tokenizer that knows them, "
            "with a model that was trained with it; or correct the answers"
        )
    if unknown := _unknown(map(asked, items), encoder):
        logging.warning(
            "%s: the tokenizer does not know %d words of the questions, such as %s; the model "
            "cannot tell them apart", folder, len(unknown), _some(unknown),
        )  # fmt: skip


def _unknown(texts: Iterable[str], encoder: PromptEncoder) -> set[str]:
    words = sorted({word for text in texts for word in _words(text)})
    return {
        word for start in range(0, len(words), _AT_A_TIME)
        for word in _with_banned(words[start : start + _AT_A_TIME], encoder)
    }  # fmt: skip


def _with_banned(words: list[str], encoder: PromptEncoder) -> Iterator[str]:
    """Those that become a token which is never sampled."""
    for word, ids in zip(words, encoder.word_ids(words), strict=True):
        if encoder.banned_ids[np.array(ids, int)].any():
            yield word


def _words(text: str) -> list[str]:
    return text.split()


def _some(words: set[str]) -> str:
    return ", ".join(map(repr, sorted(words)[:5])) + (", …" if len(words) > 5 else "")
