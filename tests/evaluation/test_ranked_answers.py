"""Answers in an Oracle's order, and the table that shows it."""

import pytest

from orl_jax.evaluation.ranked_answers import (
    Answer,
    answer_table,
    by_log_prob,
    by_oracle,
    check_reference,
)
from orl_jax.oracles import Ranking, ReferenceOracle
from orl_jax.run.errors import Failure, UserError

ANSWERS = [
    Answer("The red circle moves left.", False, -1.726),
    Answer("The red circle moves up.", False, -12.5),
    Answer("The red\ncircle moves up.", True, -0.25),
    Answer("It stays.", False, -0.5),
]
QUESTION = "What does the red circle do?"


def test_the_oracles_best_is_first_and_ties_by_likelihood():
    ranked = by_oracle(ReferenceOracle(), ANSWERS, QUESTION, "clip.mp4", "The red circle moves up.")
    assert answer_table(ranked).split("\n") == [
        "Oracle rank  log-prob  answer",
        "          0    -12.50  The red circle moves up.",
        "        1.5     -0.50  It stays.",
        "        1.5     -1.73  The red circle moves left.",
        "          3     -0.25  The red circle moves up. [broken off]",  # whatever its text
    ]


def test_without_an_oracle_the_likeliest_is_first():
    assert answer_table(by_log_prob(ANSWERS)).split("\n") == [
        "log-prob  answer",
        "   -0.25  The red circle moves up. [broken off]",
        "   -0.50  It stays.",
        "   -1.73  The red circle moves left.",
        "  -12.50  The red circle moves up.",
    ]


def test_the_oracle_gets_the_question_and_the_video():
    class Looking:
        def rank(self, requests):
            self.request = requests[0]
            return [Ranking.from_order([3, 2, 1, 0], 4)]

    oracle = Looking()
    ranked = by_oracle(oracle, ANSWERS, QUESTION, "clip.mp4")
    assert [r.answer for r in ranked] == ANSWERS[::-1]
    request = oracle.request
    assert (request.question, request.video, request.reference) == (QUESTION, "clip.mp4", None)
    assert request.truncated == (False, False, True, False)


def test_an_oracle_without_an_order_gives_its_reason():
    with pytest.raises(Failure, match="no reference answer"):
        by_oracle(ReferenceOracle(), ANSWERS, QUESTION, "clip.mp4")


def test_a_missing_reference_is_refused():
    for oracle in ("reference", "graded", "noisy"):
        with pytest.raises(UserError, match=f'--oracle={oracle} .* --reference="'):
            check_reference(oracle, " ")
        check_reference(oracle, "Up.")
    check_reference("reward", "")
