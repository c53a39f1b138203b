"""Which tokens are never sampled: special ones, and the template's own words."""

import numpy as np
from transformers import PreTrainedTokenizerBase

from orl_jax.data.text.prompt import IMAGE_TOKEN, SYSTEM, sentences

# What begins a turn of the conversation, and the system prompt's sentences.
_TEMPLATE = ("USER", "ASSISTANT", *(sentence.strip() for sentence in sentences(SYSTEM)))


def banned_ids(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """The ids that must never be sampled, bool [V].

    These are padding, `<s>`, `<unk>` and `<image>`, but never the end token, which is one of them
    in some tokenizers (GPT-2). Where every word is a token, as in the embedded world, also the
    words of the conversation's template: they are in its vocabulary only for the prompt. Other
    tokenizers spell them with pieces that answers need.

    Example: `banned_ids(tokenizer).sum() == 8` for the embedded world's tokenizer.
    """
    vocabulary = tokenizer.get_vocab()
    banned = {
        tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id,
        vocabulary[IMAGE_TOKEN],
    }  # fmt: skip
    if _has_whole_words(tokenizer):
        banned |= {i for token, i in vocabulary.items() if token.strip("▁ ") in _TEMPLATE}
    found = np.zeros(len(tokenizer), bool)
    found[sorted(banned - {None, tokenizer.eos_token_id})] = True
    return found


def _has_whole_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    inner = getattr(tokenizer, "backend_tokenizer", None)
    return inner is not None and type(inner.model).__name__ == "WordLevel"
