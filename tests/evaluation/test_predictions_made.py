"""When a prediction is right, and predictions from weighed options."""

import math

import pytest

from orl_jax.evaluation.prediction import Prediction, is_right

OPEN = {
    "item_id": "a", "task_type": "colour", "video": "a.mp4", "question": "Which?",
    "answer": "It is red.", "paraphrases": ["Red."],
}  # fmt: skip
CHOICE = OPEN | {
    "options": ["A. Blue.", "B. Red.", "C. Green."],
    "answer": "B",
    "extra": '{"k": 1}',
}


@pytest.mark.parametrize(
    ("item", "response", "right"),
    [
        (OPEN, "it is  RED", True), (OPEN, "red", True), (OPEN, "It is red, or blue.", False),
        (CHOICE, "B", True), (CHOICE, "The answer is B.", True), (CHOICE, "(b)", True),
        (CHOICE, "Red.", True), (CHOICE, "A or B", False), (CHOICE, "Blue.", False),
        (CHOICE | {"options": [], "choices": CHOICE["options"]}, "Red.", True),
        (OPEN | {"options": ["It is red.", "It is blue."]}, "red", True),
    ],
)  # fmt: skip
def test_right_and_wrong(item, response, right):
    assert is_right(item, response) is right


def test_sampled_answers_count_by_their_share():
    found = Prediction.of(OPEN, "Blue.", ["Red.", "Blue.", "It is red.", "x"])
    assert (found.correct, found.samples_correct) == (False, 0.5)
    assert Prediction.of(OPEN, "Red.", ()).samples_correct is None


def test_the_likeliest_option_is_the_response():
    """exp: 1/8, 1/4, 1/8; so B, with half of the probability of all options."""
    found = Prediction.weighed(CHOICE, [math.log(1 / 8), math.log(1 / 4), math.log(1 / 8), 0.0])
    assert (found.response, found.correct) == ("B", True)
    assert found.samples_correct == pytest.approx(0.5)
    assert found.option_log_probs == pytest.approx(
        [math.log(1 / 8), math.log(1 / 4), math.log(1 / 8)]
    )
    assert found.extra == {"k": 1} and found.options == CHOICE["options"]
    wrong = Prediction.weighed(CHOICE, [-1.0, -1.0, -1.0, -9.0])
    assert (wrong.response, wrong.correct) == ("A", False)  # the first of equals


def test_impossible_options_do_not_divide_by_zero():
    found = Prediction.weighed(CHOICE, [-1e9, -2e9, -3e9, 0.0])
    assert (found.response, found.samples_correct) == ("A", 0.0)


def test_a_prediction_is_about_its_unchanged_item():
    found = Prediction.of(CHOICE, "B", ())
    assert found.answers(CHOICE)
    for key, value in (("question", "Who?"), ("answer", "A"), ("options", ["A. x", "B. y"])):
        assert not found.answers(CHOICE | {key: value})
