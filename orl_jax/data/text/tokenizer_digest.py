"""What a tokenizer is, as a short text: two tokenizers with equal digests give equal ids."""

import hashlib
import json
import random

from transformers import PreTrainedTokenizerBase

from orl_jax.data.text.prompt import IMAGE_TOKEN, format_prompt

_WORDS = 1000  # each of three random tokens: how a tokenizer splits and merges shows in them
_TEXTS = (
    format_prompt("What does the red circle do?"),
    "  two  spaces,\ttabs\r\nand\n\nlines ",
    "It's 3.14 or 1,024 — “naïve” ÀÉ ß 漢字 😀 don't_snake camelCase UPPER lower",
)


def digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """A digest of a tokenizer's content: which id each token has, and how it splits texts.

    Made of what the tokenizer does, not of its files: another format, another folder or another
    version of the library gives the same digest while the ids stay the same. A checkpoint keeps
    that of the tokenizer it was trained with as "tokenizer", next to its configuration.

    Args:
      tokenizer: as `load_tokenizer` gives it, with its `<image>` and padding token.

    Returns:
      16 hexadecimal digits.

    Example: a word tokenizer with two words swapped has another digest, of the same length.
    """
    vocabulary = sorted(tokenizer.get_vocab().items())
    special = {
        "end": tokenizer.eos_token_id, "start": tokenizer.bos_token_id,
        "padding": tokenizer.pad_token_id, "unknown": tokenizer.unk_token_id,
        "image": tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
    }  # fmt: skip
    pieces = [token.replace("▁", " ").replace("Ġ", " ") for token, _ in vocabulary]
    draw = random.Random(0)
    words = ["".join(draw.choices(pieces, k=3)) for _ in range(_WORDS)]
    ids = [tokenizer(text)["input_ids"] for text in (*_TEXTS, *words)]
    content = json.dumps([vocabulary, special, ids]).encode()
    return hashlib.sha256(content).hexdigest()[:16]
