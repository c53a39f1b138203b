"""Tokenizers round-trip text; prompts become arrays with one `<s>` and the visual tokens inside."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from orl_jax.data.text.prompt import SYSTEM, format_example, format_prompt
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer, load_tokenizer
from orl_jax.run.errors import UserError

QUESTION = "What does the red circle do?"
ANSWERS = ("The red circle moves to the left.", "It isn't red, no.", "two")
TEXTS = (QUESTION, *ANSWERS)
WORDS = ("The", "red", "circle", "moves", "to", "the", "left")
TOKENIZER = build_word_tokenizer(TEXTS)
VISUAL, L, T = 5, 30, 10


def encoder(tokenizer=TOKENIZER, prompt_length=L, response_length=T) -> PromptEncoder:
    return PromptEncoder(tokenizer, VISUAL, prompt_length, response_length)


@pytest.fixture(scope="module")
def llama_like(tmp_path_factory):
    """A small byte-pair tokenizer with LLaMA's special tokens, no padding, no `<image>`; saved."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    specials = ["<unk>", "<s>", "</s>"]
    alphabet = sorted(set("".join((*TEXTS, SYSTEM, "USER: ASSISTANT:\n"))))
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=specials, initial_alphabet=alphabet
    )
    inner.train_from_iterator([*TEXTS, SYSTEM], trainer)
    inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    folder = tmp_path_factory.mktemp("llama")
    tokenizer.save_pretrained(folder)
    return tokenizer, folder


def test_layout_of_the_vocabulary():
    assert [TOKENIZER.convert_ids_to_tokens(i) for i in range(5)] == [
        "<unk>", "<s>", "</s>", "<pad>", "<image>",
    ]  # fmt: skip
    assert (TOKENIZER.unk_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id) == (0, 1, 2)
    assert TOKENIZER.pad_token_id == 3
    assert len(TOKENIZER) == len(set(TOKENIZER.get_vocab().values()))


def test_the_order_of_texts_does_not_matter():
    assert build_word_tokenizer(reversed(TEXTS)).get_vocab() == TOKENIZER.get_vocab()


def test_pieces_of_an_answer():
    ids = TOKENIZER(ANSWERS[0], add_special_tokens=False)["input_ids"]
    pieces = ["▁The", "▁red", "▁circle", "▁moves", "▁to", "▁the", "▁left", "."]
    assert TOKENIZER.convert_ids_to_tokens(ids) == pieces


def test_each_system_sentence_is_one_token():
    assert len(TOKENIZER(SYSTEM, add_special_tokens=False)["input_ids"]) == 2
    pieces = TOKENIZER.convert_ids_to_tokens(TOKENIZER(format_prompt("left"))["input_ids"])
    assert pieces[0] == "<s>"
    assert pieces[3:] == ["▁USER", ":", "▁", "<image>", "\n", "▁left", "▁ASSISTANT", ":"]


@pytest.mark.parametrize("text", [*TEXTS, SYSTEM])
def test_round_trip(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids) == text


@given(st.lists(st.sampled_from(WORDS), min_size=1), st.sampled_from(["", ".", "?", ",", "'"]))
def test_round_trip_of_any_sentence(words, mark):
    text = " ".join(words) + mark
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(words) + len(mark)
    assert TOKENIZER.decode(ids) == text


def test_saving_keeps_everything(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    text = format_example(QUESTION, ANSWERS[0])
    assert again.get_vocab() == TOKENIZER.get_vocab()
    assert again(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert (again.pad_token_id, again.bos_token_id) == (3, 1)
    np.testing.assert_array_equal(encoder(again).banned_ids, encoder().banned_ids)


def test_loading_adds_what_is_missing_behind(llama_like):
    before, folder = llama_like
    after = load_tokenizer(folder)
    assert len(after) == len(before) + 2
    assert {k: v for k, v in after.get_vocab().items() if v < len(before)} == before.get_vocab()
    assert after.pad_token == "<pad>"
    assert {after.pad_token_id, after.get_vocab()["<image>"]} == {len(before), len(before) + 1}


def test_padding_that_ends_answers_is_replaced(llama_like, tmp_path):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(llama_like[1])
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(tmp_path / "end")
    loaded = load_tokenizer(tmp_path / "end")
    assert loaded.pad_token == "<pad>"
    assert not encoder(loaded).banned_ids[loaded.eos_token_id]
    tokenizer.pad_token = "<unk>"  # as the baseline has it: no reason to change
    tokenizer.save_pretrained(tmp_path / "unk")
    assert load_tokenizer(tmp_path / "unk").pad_token_id == 0


def test_loading_nothing(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no tokenizer in"):
        load_tokenizer(tmp_path)


def test_prompt_is_the_template_with_visual_tokens():
    ids, mask = encoder().encode_prompt(QUESTION)
    assert (ids.shape, ids.dtype, mask.dtype) == ((L,), np.int32, np.bool_)
    whole = TOKENIZER(format_prompt(QUESTION))["input_ids"]  # in one go, its own <s> in front
    place = whole.index(4)
    expected = whole[:place] + [4] * VISUAL + whole[place + 1 :]
    assert ids[mask].tolist() == expected
    assert mask.tolist() == [False] * (L - len(expected)) + [True] * len(expected)
    assert (ids[~mask] == 3).all()


def test_prompt_and_response_make_the_example():
    prompt, prompt_mask = encoder().encode_prompt(QUESTION)
    response, response_mask = encoder().encode_response(ANSWERS[0])
    text = prompt[prompt_mask].tolist() + response[response_mask].tolist()
    text = text[: text.index(4)] + text[text.index(4) + VISUAL - 1 :]
    assert text == TOKENIZER(format_example(QUESTION, ANSWERS[0]))["input_ids"]


def test_chunks_of_a_byte_pair_tokenizer(llama_like):
    tokenizer = load_tokenizer(llama_like[1])
    ids, mask = encoder(tokenizer, prompt_length=300).encode_prompt(QUESTION)
    image = tokenizer.get_vocab()["<image>"]
    before, after = format_prompt(QUESTION).split("<image>")
    chunks = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, after)]
    assert ids[mask].tolist() == [1, *chunks[0], *[image] * VISUAL, *chunks[1]]
    answer, _ = encoder(tokenizer, response_length=60).encode_response(ANSWERS[0])
    assert encoder(tokenizer).decode(answer) == (ANSWERS[0], False)


def test_special_tokens_in_texts_are_dropped():
    ids, _ = encoder().encode_prompt("What <s>does</s> the <image><pad>red </<s>s>circle do?")
    np.testing.assert_array_equal(ids, encoder().encode_prompt(QUESTION)[0])
    ids, _ = encoder().encode_response("two</s> <image>")
    np.testing.assert_array_equal(ids, encoder().encode_response("two")[0])


def test_response_is_padded_on_the_right():
    ids, mask = encoder().encode_response("two")
    two = TOKENIZER.get_vocab()["▁two"]
    assert ids.tolist() == [two, 2] + [3] * (T - 2)
    assert mask.tolist() == [True, True] + [False] * (T - 2)
    assert (ids.dtype, mask.dtype) == (np.int32, np.bool_)


def test_lengths_are_exact_limits():
    needed = encoder().encode_prompt(QUESTION)[1].sum()
    assert encoder(prompt_length=needed).encode_prompt(QUESTION)[1].all()
    message = (
        rf"has {needed} tokens, {VISUAL} of them visual; config.data.prompt_tokens is {needed - 1}"
    )
    with pytest.raises(UserError, match=message):
        encoder(prompt_length=needed - 1).encode_prompt(QUESTION)
    assert encoder(response_length=9).encode_response(ANSWERS[0])[1].all()
    with pytest.raises(UserError, match="has 9 tokens .*config.data.response_tokens is 8"):
        encoder(response_length=8).encode_response(ANSWERS[0])


@pytest.mark.parametrize("answer", ANSWERS)
def test_decode_undoes_encode(answer):
    assert encoder().decode(encoder().encode_response(answer)[0]) == (answer, False)


def test_decode_cuts_at_the_first_end():
    two, red = (TOKENIZER.get_vocab()[word] for word in ("▁two", "▁red"))
    assert encoder().decode(np.array([two, 2, red, 2])) == ("two", False)
    assert encoder().decode(np.array([2, red])) == ("", False)
    assert encoder().decode(np.array([two, red, 3, 3])) == ("two red", True)


def test_banned_ids():
    banned = encoder().banned_ids
    assert (banned.shape, banned.dtype) == ((len(TOKENIZER),), np.bool_)
    # the special tokens but the end, and those of the template (test_known_words.py)
    assert np.flatnonzero(banned)[:4].tolist() == [0, 1, 3, 4]
    assert banned.sum() == 8


def test_encoder_can_be_pickled():
    again = pickle.loads(pickle.dumps(encoder()))
    np.testing.assert_array_equal(
        again.encode_prompt(QUESTION)[0], encoder().encode_prompt(QUESTION)[0]
    )
