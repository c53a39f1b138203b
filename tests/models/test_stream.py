"""Streaming: the tokens of `sample`, one compilation for all, only complete characters."""

from functools import lru_cache, partial

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import BANNED, END, PAD, make_params, make_prompts, make_vlm
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from orl_jax.data.text.prompt import IMAGE_TOKEN
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.models.sampler import sample
from orl_jax.models.stream import Streamer, text_pieces

T = 6
SETTINGS = {"max_tokens": T, "end_id": END, "pad_id": PAD}


@lru_cache
def make_streamer(temperature):
    return Streamer(make_vlm(), make_params(), BANNED, temperature=temperature, **SETTINGS)


def one_prompt(row):
    return jax.tree.map(lambda array: array[row : row + 1], make_prompts(3))


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_streams_the_tokens_of_sample(temperature):
    streamer = make_streamer(temperature)
    draw = partial(sample, make_vlm(), group_size=1, temperature=temperature, **SETTINGS)
    draw = jax.jit(draw)
    ended, answers = 0, set()
    for seed in range(4):
        for row in range(3):
            key = jax.random.key(seed)
            rollout = draw(make_params(), *one_prompt(row), BANNED, key)
            expected = rollout.ids[0, 0][rollout.mask[0, 0]].tolist()
            assert list(streamer.stream(*one_prompt(row), key)) == expected
            ended += expected[-1] == END
            answers.add(tuple(expected))
    assert len(answers) == 3 if temperature == 0 else len(answers) > 6
    assert temperature == 0 or 0 < ended < 12  # both kinds occurred: ended and cut off
    # one compilation serves all prompts, keys and steps
    assert (streamer._begin._cache_size(), streamer._step._cache_size()) == (1, 1)


def test_the_cache_is_written_in_place():
    streamer = make_streamer(0.7)
    prefix, state = streamer._begin(make_params(), *one_prompt(0))
    place = state.cache.keys.unsafe_buffer_pointer()
    new, _ = streamer._step(make_params(), BANNED, jax.random.key(0), prefix, state)
    assert state.cache.keys.is_deleted()
    assert new.cache.keys.unsafe_buffer_pointer() == place
    assert not prefix.prompt.keys.is_deleted()


def byte_encoder():
    """Like LLaMA for rare characters: one token per byte, ids 5 to 260."""
    names = ["<unk>", "<s>", "</s>", "<pad>", IMAGE_TOKEN, *(f"<0x{i:02X}>" for i in range(256))]
    words = ["▁a", "▁red", "."]
    vocabulary = {name: i for i, name in enumerate([*names, *words])}
    inner = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        pad_token="<pad>",
    )  # fmt: skip
    return PromptEncoder(tokenizer, 1, 64, 64)


ENCODER = byte_encoder()
WORDS = {name: 261 + i for i, name in enumerate(("a", "red", "."))}


def tokens_of(text):
    """Words as tokens, other characters as their bytes, and the end."""
    parts = [[WORDS[p]] if p in WORDS else [5 + b for b in p.encode()] for p in text]
    return [token for part in parts for token in part] + [2]


def test_characters_of_several_tokens_come_complete():
    pieces = list(text_pieces(ENCODER, tokens_of(["red", "€", "👍", "a", "."])))
    assert pieces == ["red", "€", "👍", " a", "."]


@settings(deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "é", "€", "👍🏽", "한", " ", "\n"]), max_size=12))
def test_pieces_join_to_the_text(parts):
    tokens = tokens_of(parts)
    pieces = list(text_pieces(ENCODER, tokens))
    assert "".join(pieces) == ENCODER.decode(tokens)[0]
    assert all(pieces)
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_an_incomplete_last_character_is_dropped():
    tokens = tokens_of(["red", "€"])[:-2]
    assert list(text_pieces(ENCODER, tokens)) == ["red"]


def test_invalid_bytes_do_not_stop_the_text():
    tokens = [*tokens_of(["red"])[:-1], 5 + 0xFF, *tokens_of(["a", "."])]
    pieces = list(text_pieces(ENCODER, tokens))
    assert pieces == ["red", "\N{REPLACEMENT CHARACTER} a", "."]
