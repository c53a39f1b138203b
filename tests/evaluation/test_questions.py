"""Which items are asked, and in what form."""

import json

import numpy as np
import pytest

from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.evaluation.questions import Questions, chosen, weighed_ids
from orl_jax.run.errors import UserError

WORDS = ["It is red.", "Two.", "A B C D"]
ENCODER = PromptEncoder(build_word_tokenizer(WORDS), 4, 24, 8)


def item(number, task_type="a", **extra):
    return {"item_id": str(number), "task_type": task_type, "extra": json.dumps(extra)}


def test_a_sample_is_stratified_and_contains_smaller_ones():
    items = [item(i, "rare" if i % 4 == 0 else "usual") for i in range(40)]
    settings = {"stratify": "task_type", "seed": 3}
    eight = list(chosen(items, max_items=8, **settings))
    assert sum(i["task_type"] == "rare" for i in eight) == 2
    assert [i["item_id"] for i in eight] == sorted((i["item_id"] for i in eight), key=int)
    four = list(chosen(items, max_items=4, **settings))
    assert all(i in eight for i in four)
    assert eight != list(chosen(items, max_items=8, stratify="task_type", seed=4))
    assert list(chosen(items, max_items=2, stratify="", seed=0)) == items[:2]
    assert len(chosen(items, max_items=0, **settings)) == 40


def test_strata_may_be_features_of_the_benchmark():
    items = [item(i, "a", duration="long" if i < 10 else "short") for i in range(20)]
    found = list(chosen(items, max_items=4, stratify="task_type,duration", seed=0))
    assert sum("long" in i["extra"] for i in found) == 2
    with pytest.raises(UserError, match="no 'length'; choose from duration, extra, item_id"):
        chosen(items, max_items=4, stratify="length", seed=0)


def test_options_are_shown_or_weighed():
    choice = item(1) | {"options": ["A. It is red.", "B. Two."]}
    assert Questions([choice], "letter")[0] is choice
    assert Questions([choice], "letter_likelihood")[0] == choice
    hidden = Questions([choice], "text_likelihood")[0]
    assert (hidden["options"], hidden["choices"]) == ([], choice["options"])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_what_cannot_be_weighed_is_refused(count):
    open_one = item(7) | {"options": ["x"] * count}
    with pytest.raises(UserError, match=f"weighs 2 to 4 options; item 7 has {count}"):
        Questions([open_one], "letter_likelihood")[0]
    assert Questions([open_one], "letter")[0] is open_one


def test_letters_are_weighed_without_an_end_token_and_texts_with_it():
    choice = item(1) | {"options": ["A. It is red.", "B. Two."]}
    ids, mask = weighed_ids([choice], 2, ENCODER, "text_likelihood")
    assert ids.shape == mask.shape == (2, 4, ENCODER.response_length)
    for place, text in enumerate(("It is red.", "Two.")):
        for got, wanted in zip((ids, mask), ENCODER.encode_response(text), strict=True):
            np.testing.assert_array_equal(got[0, place], wanted)
    assert not mask[0, 2:].any() and not mask[1].any()
    ids, mask = weighed_ids([choice], 1, ENCODER, "letter_likelihood")
    assert ENCODER.end_id not in ids[mask]
    np.testing.assert_array_equal(mask[0].sum(axis=-1), [1, 1, 0, 0])
