"""When two answers count as the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_jax.data.text.answer_text import is_correct, normalise

unhurried = settings(deadline=None)  # the machine may be busy


@pytest.mark.parametrize(
    "text, expected",
    [
        (" The Circle\tmoves  UP. ", "the circle moves up"),
        ("It's red!", "its red"),
        ("It\u2019s red\u2026", "its red"),
        ("a half-way (or so) mark", "a half way or so mark"),
        ("3.5, 12:30 and -2", "3.5 12:30 and -2"),
        ("\u22125 is not 5", "-5 is not 5"),
        ("50% = 50 percent", "50 percent = 50 percent"),
        ("at 3.", "at 3"),
        ("the score is 2-3", "the score is 2 3"),
        ("snake_case", "snake case"),
        ("STRASSE stra\u00dfe", "strasse strasse"),
        ("\uff34\uff57\uff4f", "two"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940\u0964", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        (" .,! ", ""),
    ],
)
def test_normalise_by_hand(text, expected):
    assert normalise(text) == expected


@unhurried
@given(st.text(max_size=30) | st.text("aA1'-.%: ", max_size=12))
def test_normalise_is_idempotent(text):
    assert normalise(normalise(text)) == normalise(text)


@unhurried
@given(st.lists(st.sampled_from(["The", "circle", "is", "red"]), min_size=1, max_size=5))
def test_case_space_and_final_stop_do_not_matter(words):
    assert normalise("  ".join(words).upper() + ".") == normalise(" ".join(words).lower())


def test_is_correct():
    assert is_correct("the circle is RED", "The circle is red.")
    assert is_correct("It is red", "The circle is red.", ["It is red."])
    assert not is_correct("It is red", "The circle is red.")
    assert not is_correct("red", "The circle is red.", ["It is red."])
    assert not is_correct("The circle moves to the", "The circle moves to the right.")
    assert not is_correct("5", "-5") and not is_correct("35", "3.5")


def test_an_answer_without_words_is_never_correct():
    assert not is_correct("", "") and not is_correct("...", "?", ["!"])
