"""What a tokenizer adds on its own, found by trying it."""

from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from orl_jax.data.text.prompt import IMAGE_TOKEN


class Traits(NamedTuple):
    """How text must be handed to a tokenizer.

    Attributes:
      opening: ids that it puts before every text: its `<s>`, or none.
      space: what to put before an answer that is tokenised separately from its prompt, so that it
        reads "ASSISTANT: answer": "" where the tokenizer itself adds a space to every text (LLaMA-1
        and -2), " " where it does not (GPT-2, SmolLM2, LLaMA-3).
      markers: texts that it always reads as special tokens, and `<image>`.
    """

    opening: list[int]
    space: str
    markers: tuple[str, ...]


def traits(tokenizer: PreTrainedTokenizerBase) -> Traits:
    """Tests a tokenizer on a few short texts.

    Example: `traits(tokenizer)` of LLaMA-2 is `Traits([1], "", ("</s>", "<image>", …))`.
    """
    return Traits(_opening(tokenizer), _space(tokenizer), _markers(tokenizer))


def _opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Looks for `<s>` as the baseline's `tokenizer_image_token` does: in a tokenised text.

    SmolLM2, for example, has such a token but does not begin texts with it.
    """
    start = tokenizer.bos_token_id
    begins = start is not None and tokenizer("x")["input_ids"][:1] == [start]
    return [start] if begins else []


def _space(tokenizer: PreTrainedTokenizerBase) -> str:
    colon, text, both = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (":", "x", ": x")
    )
    return "" if colon + text == both else " "


def _markers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted((added | set(tokenizer.all_special_tokens) | {IMAGE_TOKEN}) - {""}))
