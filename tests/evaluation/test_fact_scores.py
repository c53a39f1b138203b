"""Descriptions are scored by their facts, as the Oracle does; other answers as before."""

import pytest

from orl_jax.data.world.description import QUESTION, TASK_TYPE
from orl_jax.evaluation.prediction import Prediction
from orl_jax.evaluation.summary import summarise
from orl_jax.report.table import accuracy_table


def item(answer, task_type=TASK_TYPE):
    return {
        "item_id": "test/00000-0", "task_type": task_type, "video": "a.mp4", "question": QUESTION,
        "answer": answer, "paraphrases": [],
    }  # fmt: skip


RIGHT = Prediction.of(
    item("A red circle moves up."), "The red circle goes up!", ["A red circle.", "It is blue."]
)
HALF = Prediction.of(
    item("A blue cross stays still."), "A blue cross moves up.", ["There is a blue cross.", ""]
)


def test_an_answer_is_right_if_all_its_facts_are():
    assert (RIGHT.correct, HALF.correct) == (True, False)
    assert (RIGHT.samples_correct, HALF.samples_correct) == (0.0, 0.0)
    none = Prediction.of(item("Nothing happens."), "nothing happens", ())
    assert none.correct  # a reference without facts is compared in words
    other = Prediction.of(item("It moves up.", "action recognition"), "It goes up.", ())
    assert not other.correct


def test_summary_by_hand():
    found = summarise([RIGHT, HALF])
    assert found["n"] == 2 and found["accuracy"] == 0.5
    assert found["fact_score"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["words"] == 6  # a mark each
    assert found["sampled_fact_score"] == pytest.approx((2 / 3 + 0 + 2 / 3 + 0) / 4)
    assert found["sampled_words"] == pytest.approx((4 + 4 + 6 + 0) / 4)
    assert found["categories"][TASK_TYPE]["fact_score"] == found["fact_score"]


def test_other_answers_have_no_fact_score():
    colour = Prediction.of(item("It is red.", "attribute perception"), "It is red.", ())
    assert summarise([colour]) == {
        "n": 1, "accuracy": 1.0, "categories": {"attribute perception": {"n": 1, "accuracy": 1.0}},
    }  # fmt: skip
    mixed = summarise([colour, HALF])
    assert mixed["fact_score"] == 0.5 and mixed["accuracy"] == 0.5
    assert "fact_score" not in mixed["categories"]["attribute perception"]


def test_the_table_shows_fact_scores_before_and_after():
    results = {"sft": summarise([HALF]), "rl": summarise([RIGHT])}
    lines = [line.split() for line in accuracy_table(results).splitlines()]
    assert ["fact", "score,", "greedy", "1*", "50.0", "100.0", "+50.0"] in lines
    assert ["fact", "score,", "sampled", "1*", "33.3", "33.3", "+0.0"] in lines
    assert not any("fact" in line for line in accuracy_table({"sft": {}}).splitlines())
