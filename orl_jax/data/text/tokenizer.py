"""A word-level tokenizer for the embedded world, and saved tokenizers made ready for prompts."""

import pathlib
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from orl_jax.data.text.prompt import END_TOKEN, IMAGE_TOKEN, SYSTEM, sentences
from orl_jax.data.text.tokenizer_files import read_tokenizer

PAD_TOKEN = "<pad>"
# The first three as in LLaMA. The baseline pads with <unk>; here padding has its own token.
_SPECIAL = ("<unk>", "<s>", END_TOKEN, PAD_TOKEN, IMAGE_TOKEN)


def build_word_tokenizer(texts: Iterable[str], system: str = SYSTEM) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each word and each punctuation mark of `texts`.

    Each sentence of the system prompt is a single token, so that this constant text costs 2 tokens
    instead of 29. Next to a question of ten words, 29 would be most of a small model's work, with
    nothing to learn from them.

    Ids: `<unk>` 0, `<s>` 1, `</s>` 2, `<pad>` 3, `<image>` 4, then the words in alphabetical order,
    the line break, the sentences. The order of `texts` does not matter.

    Args:
      texts: all questions and answers; other words become `<unk>`.
      system: the system prompt of `orl_jax.data.text.prompt`.

    Returns:
      A tokenizer for which `decode(encode(x)) == x` if x consists of known words, separated by
      single spaces. Save it with `save_pretrained(folder)`.

    Example: "The circle moves." has 4 tokens: "▁The", "▁circle", "▁moves", ".".
    """
    spaces = pre_tokenizers.Metaspace(prepend_scheme="always")
    split = pre_tokenizers.Sequence([spaces, pre_tokenizers.Punctuation("isolated")])
    lines = {line for text in (*texts, "USER: ", " ASSISTANT:") for line in text.split("\n")}
    words = {word for line in lines for word, _ in split.pre_tokenize_str(line)}
    vocabulary = {word: i for i, word in enumerate((*_SPECIAL, *sorted(words)))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = split
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    inner.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    # A sentence includes the space after it, so that decoding restores the space.
    constant = ("\n", *sentences(system))
    inner.add_tokens([AddedToken(text, normalized=False) for text in constant])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token=END_TOKEN,
        pad_token=PAD_TOKEN, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def load_tokenizer(folder: str | pathlib.Path) -> PreTrainedTokenizerBase:
    """A saved tokenizer, with an `<image>` and a padding token.

    If one of the two is missing, it is added *after* the vocabulary: other ids do not change, and
    `len(tokenizer)` grows by one each (LLaMA: 32000 to 32002). The model's embedding needs
    `len(tokenizer)` rows. The values of the new rows do not matter: `<image>` is replaced by visual
    tokens, padding is masked, and neither is ever sampled. A padding token that is also the end
    token is replaced, as padding is never sampled and the end token must be.

    Raises:
      UserError: the folder holds no tokenizer, or one without an end token.

    Example: `len(load_tokenizer("vicuna-7b-v1.5")) == 32002`.
    """
    tokenizer = read_tokenizer(folder)
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)])
    return tokenizer
