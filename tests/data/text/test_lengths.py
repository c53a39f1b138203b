"""Texts that are too long are found before training, all at once."""

import pytest

from orl_jax.data.text.lengths import check_lengths
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.run.errors import UserError

TOKENIZER = build_word_tokenizer(["What does the red circle do?", "It moves to the left."])
SIZE = PromptEncoder(TOKENIZER, 2, 99, 99).prompt_size("What does the circle do?")
ENCODER = PromptEncoder(TOKENIZER, 2, SIZE, 5)
FITS = {"item_id": "0", "question": "What does the circle do?", "answer": "It moves left."}


def test_what_fits_passes():
    check_lengths([FITS], ENCODER, "answer", "data")
    ENCODER.encode_turn(FITS["question"], FITS["answer"])


def test_all_prompts_that_are_too_long_are_counted_and_the_longest_is_named():
    long = FITS | {"item_id": "7", "question": "What does the red circle do do do?"}
    longer = FITS | {"item_id": "8", "question": "What does the red red circle do do do?"}
    needed = ENCODER.prompt_size(longer["question"])
    words = (
        rf"own: 2 of 3 different prompts are too long; the longest \(8: 'What does .* has {needed} "
        rf"tokens, config.data.prompt_tokens is {SIZE}: set it to {needed}, or shorten"
    )
    with pytest.raises(UserError, match=words):
        check_lengths([FITS, long, longer, long], ENCODER, "", "own")
    enough = ENCODER.resized(needed, 5)
    check_lengths([FITS, long, longer], enough, "answer", "own")
    enough.encode_prompt(longer["question"])


def test_answers_count_where_they_are_trained_on():
    long = FITS | {"item_id": "7", "answer": "It moves to the left left."}
    needed = ENCODER.response_size(long["answer"])
    words = f"own: 1 of 2 different responses are .*7: .*{needed} tokens, config.data.response_tok"
    with pytest.raises(UserError, match=words):
        check_lengths([FITS, long], ENCODER, "answer", "own")
    check_lengths([FITS, long], ENCODER, "", "own")
    ENCODER.resized(SIZE, needed).encode_response(long["answer"])
