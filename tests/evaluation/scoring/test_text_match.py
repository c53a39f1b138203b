"""Numbers worked out by hand, after SQuAD's official definition."""

import pytest

from orl_jax.evaluation.scoring.text_match import (
    contains_word,
    exact,
    normalised,
    squad_exact,
    squad_text,
    token_f1,
)


@pytest.mark.parametrize(
    ("response", "accepted", "f1"),
    [
        ("the red car", ["a red bus"], 0.5),  # {red, car}, {red, bus}: P = R = 1/2
        ("It is a red, red car.", ["red car"], 4 / 7),  # P 2/5, R 1
        ("red red", ["red car"], 0.5),  # the second red is not common
        ("The cat!", ["cat"], 1.0),
        ("dog", ["cat", "the big dog", "dog house"], 2 / 3),  # the best of 0, 2/3, 2/3
        ("blue", ["red"], 0.0), ("", ["red"], 0.0), ("the", ["a"], 0.0),
        ("don't", ["dont"], 1.0), ("a-b", ["ab"], 1.0), ("an apple a day", ["apple day"], 1.0),
    ],
)  # fmt: skip
def test_token_f1(response, accepted, f1):
    assert token_f1(response, accepted) == pytest.approx(f1, abs=1e-12)


def test_the_normal_form_of_squad():
    assert squad_text("The  U.S. team! an\tA the") == "us team"
    assert squad_text("theatre Another") == "theatre another"
    assert squad_exact("The cat.", ["a cat"]) and not squad_exact("cats", ["a cat"])


def test_exact_is_letter_by_letter_and_normalised_is_what_evaluation_counts():
    assert exact(" Red", ["blue", "Red "]) and not exact("red", ["Red"])
    assert normalised("red!", ["Red"]) and not normalised("the red", ["Red"])
    assert normalised("second", ["first", "Second"]) and not normalised("?!", ["?!"])


@pytest.mark.parametrize(
    ("response", "accepted", "found"),
    [
        ("It is a Dog.", ["dog"], True), ("a hotdog", ["dog"], False), ("dogs", ["dog"], False),
        ("Two dogs", ["cat", "two"], True), ("a tea pot here", ["tea pot"], True),
        ("tea in a pot", ["tea pot"], False), ("anything", ["?"], False), ("", ["dog"], False),
        ("-3 degrees", ["3"], False),
    ],
)  # fmt: skip
def test_a_reference_as_words_of_the_response(response, accepted, found):
    assert contains_word(response, accepted) is found
