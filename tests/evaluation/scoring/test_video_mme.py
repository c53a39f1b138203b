"""The official letter against a second program from its description; strict letters by hand."""

import json
import random

import pytest

from orl_jax.evaluation.scoring.protocols import Protocol, score
from orl_jax.evaluation.scoring.submission import from_submission, to_submission
from orl_jax.evaluation.scoring.video_mme import official_letter, option_text, strict_letter
from orl_jax.run.errors import UserError

# What is removed, in the script's order. "The best option is", "The correct option is", "Best
# answer:" and "Best option:" are not, by themselves: two commas are missing.
REMOVED = (
    "The best answer is|The correct answer is|The answer is|The answer|"
    "The best option isThe correct option is|Best answer:Best option:|Answer:|Option:|"
    "The correct answer|The correct option"
).split("|")


def described(response):
    """The rule from its description, letter by letter, without regular expressions."""
    left = response.strip()
    for prefix in REMOVED:
        left = "".join(left.split(prefix))
    capitals = [character for character in left if character in {"A", "B", "C", "D"}]
    if len(left.split()) > 10 and not capitals:
        return ""
    return capitals[0] if capitals else ""


PIECES = [
    *REMOVED, "The best option is", "The correct option is", "Best answer:", "Best option:",
    "A", "B", "C", "D", "E", "a", "b", "(c)", "(D)", "A.", "C)", ":", ",", ".", "\n", "  ", "\t",
    "Based on the video", "A man walks", "Cats and dogs", "the answer is", "answer:", "Answer",
    "The", "because it is the one that we can see at the very end of it all", "é", "Ａ", "", "is",
    "None", "The The answer is", "AnAnswer:swer:", "I think", "option", "Both", "<s>", "**B**",
]  # fmt: skip


def test_five_thousand_responses_have_the_letter_of_the_description():
    rng = random.Random(0)
    letters = []
    for _ in range(5000):
        joint = rng.choice(["", " "])
        response = joint.join(rng.choices(PIECES, k=rng.randrange(9)))
        letters.append(described(response))
        assert official_letter(response) == letters[-1], response
    assert {letters.count(letter) > 100 for letter in ("", "A", "B", "C", "D")} == {True}


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("C", "C"), ("The answer is C.", "C"), ("The best answer is: D", "D"), ("Answer: A", "A"),
        ("Best answer: C", "B"),  # the first missing comma: the B of Best
        # The second: seen only where a removal would make another phrase.
        ("AnsThe best option iswer: C", "A"), ("AnsThe correct option iswer: C", "A"),
        ("Best option: C", "B"), ("The best option is C", "C"), ("The correct option is D", "D"),
        ("The best option isThe correct option isEnd", ""),  # the two that are one
        ("Based on the video, C", "B"), ("A man walks, so the answer is C", "A"),
        ("(b)", ""), ("b", ""), ("", ""), ("E", ""),
        ("one two three four five six seven eight nine ten eleven", ""),
        ("one two three four five six seven eight nine ten eleven D", "D"),
        ("Definitely C", "D"), ("Option: B", "B"), ("The correct answer: B", "B"),
        ("Correct answer: B", "C"), ("ANSWER: B", "A"), ("AnswerThe answer is: C", "C"),
    ],
)  # fmt: skip
def test_quirks_by_name(response, letter):
    assert described(response) == letter and official_letter(response) == letter


OPTIONS = ["A. A red car", "B. vitamin C", "C. The dog's bone", "D. a red car and a bus"]


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("C", "C"), ("c.", "C"), ("(b)", "B"), ("I say (b) here", "B"), ("Answer: C", "C"),
        ("answer: c", "C"), ("Best answer: C", "C"), ("Based on the video, C", "C"), ("**D**", "D"),
        ("A man walks, so the answer is C", "C"), ("A", "A"), ("A.", "A"), ("The answer is A", "A"),
        ("A man walks", ""), ("A dog. D", "D"), ("A or B", ""), ("A and B", ""), ("B, not C", ""),
        ("Both", ""), ("C-shaped", ""), ("Don't know", ""), ("", ""), ("E", ""),
        ("answer: a dog", ""), ("Vitamin C", "B"), ("D. Vitamin C", "D"),
        ("It is the dog's bone!", "C"), ("a red car", "A"), ("A red car and a bus.", "D"),
        ("a red car or vitamin C", ""),
        ("a red", ""), ("The answer is B because the C on the wall", ""),
    ],
)  # fmt: skip
def test_strict_letters(response, letter):
    assert strict_letter(response, OPTIONS) == letter


def test_an_option_loses_its_letter_alone():
    assert option_text("(B) Big") == "Big" and option_text("A. A red car") == "A red car"
    assert option_text("Big") == "Big" and strict_letter("big", ["Small", "Big"]) == "B"


def video(number, duration, domain, responses, **more):
    questions = [
        {
            "question_id": f"{number:03}-{place}", "task_type": kind, "question": f"Q{place}?",
            "options": ["A. one", "B. two", "C. three", "D. four"], "answer": "A",
            "response": response,
        }
        for place, (kind, response) in enumerate(responses, 1)
    ]  # fmt: skip
    about = {"video_id": f"{number:03}", "duration": duration, "domain": domain}
    return {**about, "sub_category": "Law", "questions": questions, **more}


VIDEOS = [
    video(1, "short", "Knowledge", [("OCR Problems", "A"), ("OCR Problems", "(a)")]),
    video(2, "long", "Knowledge", [("OCR Problems", "Best: one"), ("Action Reasoning", "C")]),
]


def test_the_official_form_is_read_and_written():
    items = from_submission(VIDEOS)
    assert [item["item_id"] for item in items] == ["001-1", "001-2", "002-1", "002-2"]
    assert items[2]["duration"] == "long" and items[0]["options"][1] == "B. two"
    assert to_submission(items) == [{**about, "missing": False} for about in VIDEOS]
    old = [dict(VIDEOS[0])]
    old[0]["duration_category"] = old[0].pop("duration")
    assert from_submission(old) == items[:2]
    assert from_submission([{**VIDEOS[0], "missing": True}, VIDEOS[1]]) == items[2:]
    with pytest.raises(UserError, match="item '001-1' has no domain"):
        to_submission([{**items[0], "domain": ""}])
    with pytest.raises(UserError, match="'001' lacks 'response'"):
        from_submission([{"video_id": "001", "questions": [{"question_id": "001-1"}]}])


def test_accuracy_with_and_without_the_unanswered(tmp_path):
    path = tmp_path / "submission.json"
    path.write_text(json.dumps(VIDEOS))
    found = score(path, Protocol("video_mme")).summary()
    # Official: A right, "(a)" unanswered, "Best: one" is B, C wrong. Strict: A, A, A, C.
    means = {
        name: found["all"][name]["mean"] for name in found["all"] if name not in ("n", "small")
    }
    assert means == pytest.approx(
        {"official": 1 / 3, "official_of_all": 1 / 4, "strict": 3 / 4, "strict_of_all": 3 / 4}
    )
    assert found["all"]["official"]["n"] == 3 and found["all"]["n"] == 4
    assert found["duration"]["short"]["official"]["mean"] == 1.0
    assert found["duration"]["short"]["official_of_all"]["mean"] == 0.5
    assert found["task_type"]["OCR Problems"]["official"] == pytest.approx(
        {"mean": 0.5, "low": 0.09453, "high": 0.90547, "n": 2},
        abs=1e-5,  # Wilson
    )
    assert set(found["domain"]) == {"Knowledge"} and set(found["sub_category"]) == {"Law"}


def test_a_reference_that_is_no_letter_is_refused(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"item_id": "1", "response": "A", "reference": "red"}))
    with pytest.raises(UserError, match="item '1' has the reference 'red'; .*one of A, B, C, D"):
        score(path, Protocol("video_mme"))
