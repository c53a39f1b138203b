"""A tokenizer's digest is of its content: which ids texts get, not how or where it is stored."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer, load_tokenizer
from orl_jax.data.text.tokenizer_digest import digest

TEXTS = ("The red circle moves to the left.", "What does it do?")
DIGEST = "2ae64821be419902"  # of these words; another one would refuse checkpoints of this version


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    build_word_tokenizer(TEXTS).save_pretrained(str(folder))
    return folder


def test_stays_the_same_over_saving_use_and_versions(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    tokenizer(list(TEXTS), padding=True, truncation=True, max_length=8)  # changes its settings
    tokenizer.save_pretrained(str(tmp_path))
    again = load_tokenizer(tmp_path)
    assert digest(load_tokenizer(folder)) == digest(tokenizer) == digest(again) == DIGEST
    assert PromptEncoder(again, 2, 30, 10).digest == DIGEST


def test_swapped_words_have_another_digest(folder, tmp_path):
    content = json.loads((folder / "tokenizer.json").read_text())
    words = content["model"]["vocab"]
    words["▁red"], words["▁left"] = words["▁left"], words["▁red"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_bytes(
        (folder / "tokenizer_config.json").read_bytes()
    )
    assert digest(load_tokenizer(tmp_path)) != DIGEST


def test_the_same_tokens_split_in_another_way_have_another_digest():
    def tokenizer(merges):
        pieces = {piece: i for i, piece in enumerate(("a", "b", "c", "ab", "bc", "</s>"))}
        inner = Tokenizer(models.BPE(pieces, merges))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")

    merges = [("a", "b"), ("b", "c")]
    other = merges[::-1]  # "abc" is a, bc
    assert tokenizer(merges).get_vocab() == tokenizer(other).get_vocab()
    assert digest(tokenizer(merges)) == digest(tokenizer(merges)) != digest(tokenizer(other))
