"""Answers that a tokenizer cannot say are refused early; words of the template are banned."""

import logging

import numpy as np
import pytest

from orl_jax.data.text.banned import banned_ids
from orl_jax.data.text.known_words import check_words
from orl_jax.data.text.prompt import SYSTEM
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.run.errors import UserError

TOKENIZER = build_word_tokenizer(["What does the red circle do?", "It moves to the left."])
ENCODER = PromptEncoder(TOKENIZER, 2, 40, 10)


def item(question, answer):
    return {"item_id": "1", "question": question, "answer": answer}


def test_known_words_pass(caplog):
    check_words([item("What does the circle do?", "It moves left.")], ENCODER, "answer", "data")
    assert not caplog.records


def test_answers_with_unknown_words_are_refused_by_name():
    items = [item("What?", "It moves."), item("What?", "A dog barks to the left.")]
    with pytest.raises(UserError, match=r"own: 3 words .*'A', 'barks', 'dog' .*'A dog barks.*data"):
        check_words(items, ENCODER, "answer", "own")


def test_unknown_words_of_questions_are_reported(caplog):
    with caplog.at_level(logging.WARNING):
        check_words([item("Why does it bark?", "It moves.")], ENCODER, "answer", "own")
    assert "own: the tokenizer does not know 3 words of the questions" in caplog.text
    assert "'Why', 'bark?', 'it'" in caplog.text


def test_an_answer_that_can_never_be_said_is_not_encoded():
    with pytest.raises(UserError, match="'It barks.' .* never say: .*'<unk>'; set config.data.tok"):
        ENCODER.encode_response("It barks.")
    assert ENCODER.encode_sampled("It barks.", False, 10)[1].sum() == 4  # of others: only read


def test_words_of_the_template_are_never_sampled():
    banned = {
        TOKENIZER.convert_ids_to_tokens(int(i)) for i in np.flatnonzero(banned_ids(TOKENIZER))
    }
    first, second = SYSTEM.split(". ")
    assert banned == {
        "<unk>", "<s>", "<pad>", "<image>", "▁USER", "▁ASSISTANT", f"{first}. ", second,
    }  # fmt: skip
    assert (ENCODER.banned_ids == banned_ids(TOKENIZER)).all()
