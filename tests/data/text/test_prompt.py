"""The exact template, to which a user's text cannot add."""

from hypothesis import given
from hypothesis import strategies as st

from orl_jax.data.text.prompt import (
    IMAGE_TOKEN,
    SYSTEM,
    asked,
    format_example,
    format_prompt,
    strip_all,
)

SCRAPS = st.lists(st.sampled_from(["<image>", "<im", "age>", "<", "image>", "a", " "])).map("".join)


def test_the_template_literally():
    assert format_prompt("What does the red circle do?") == (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
        "USER: <image>\nWhat does the red circle do? ASSISTANT:"
    )


def test_an_example_is_its_prompt_and_answer():
    example = format_example("Who?", "It is red.", system="Hi.")
    assert example == "Hi. USER: <image>\nWho? ASSISTANT: It is red.</s>"
    assert format_example("Who?", "Me.") == format_prompt("Who?") + " Me.</s>"


def test_media_in_the_question_is_dropped():
    assert format_prompt(" Is <image>this\n<image> red? ") == format_prompt("Is this\n red?")


@given(SCRAPS)
def test_one_image_whatever_the_question(question):
    assert format_prompt(question).count(IMAGE_TOKEN) == 1
    assert format_prompt(question).startswith(f"{SYSTEM} USER: {IMAGE_TOKEN}\n")


@given(SCRAPS, SCRAPS)
def test_one_image_and_one_end_whatever_the_answer(question, answer):
    example = format_example(question, answer + "</s></</s>s>" + answer)
    assert example.count(IMAGE_TOKEN) == 1
    assert example.count("</s>") == 1


def test_an_empty_marker_is_ignored():
    assert strip_all(" a</s> ", ("", "</s>")) == "a"
    assert format_example("Who?", "Me.", "Hi.", end="") == format_prompt("Who?", "Hi.") + " Me."


def test_a_multiple_choice_question_is_asked_in_video_mmes_words():
    options = ["A. Red.", "B. Blue.", "C. Green.", "D. None."]
    assert asked({"question": "Which colour?", "options": options}) == (
        "Select the best answer to the following multiple-choice question based on the video. "
        "Respond with only the letter (A, B, C, or D) of the correct option.\n"
        "Which colour?\nA. Red.\nB. Blue.\nC. Green.\nD. None.\nThe best answer is:"
    )
    assert "the letter (A or B) of" in asked({"question": "Which?", "options": options[:2]})


def test_an_open_question_is_asked_as_it_is():
    assert asked({"question": "Which colour?", "options": []}) == "Which colour?"
    assert asked({"question": "Which colour?"}) == "Which colour?"
