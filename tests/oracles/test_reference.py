"""The Oracle that knows the accepted answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orl_jax.data.world.question import VALUES, questions
from orl_jax.data.world.scene import sample_scene
from orl_jax.oracles import Ranking, RankRequest, ReferenceOracle
from orl_jax.oracles.reference import Grade, Level, grade_responses

unhurried = settings(deadline=None)  # the machine may be busy
COLOUR = ("What colour is the circle?", "The circle is red.", ("It is a red circle.",))
MOTION = (
    "What does the red circle do?",
    "The red circle moves to the right.",
    ("The red circle goes right.",),
)
CHOICE = (
    "Which comes first, the red circle or the blue square?",
    "The red circle comes first.",
    (),
)


def request(item, *responses, truncated=()):
    """A request about one of the items above."""
    question, reference, paraphrases = item
    return RankRequest(
        "p", question, responses, truncated, reference=reference, paraphrases=paraphrases
    )


def ranks(item, *responses, truncated=()):
    """The ranks that the Oracle gives to responses."""
    ranking = ReferenceOracle().rank([request(item, *responses, truncated=truncated)])[0]
    assert ranking.valid
    return ranking.ranks


def scores(item, *responses, truncated=()):
    """The scores that the Oracle gives to responses."""
    ranking = ReferenceOracle().rank([request(item, *responses, truncated=truncated)])[0]
    return pytest.approx(ranking.scores)


def level(item, response):
    """The level of one response."""
    return grade_responses(request(item, response))[0].level


def test_exact_before_paraphrase_before_partial_before_wrong():
    responses = ("The circle is blue.", "it is red", "It is a red circle", "THE CIRCLE IS RED")
    assert ranks(COLOUR, *responses) == (3, 2, 1, 0)


def test_ties_are_ties():
    responses = ("the circle is red", "The circle is red.", "The circle is blue.", "green", "")
    assert ranks(COLOUR, *responses) == (0.5, 0.5, 3, 3, 3)
    assert ranks(COLOUR, *["The circle is blue."] * 5) == (2, 2, 2, 2, 2)


def test_a_truncated_answer_never_beats_a_complete_one():
    responses = ("The circle is red.", "The circle is blue.", "It is red")
    assert ranks(COLOUR, *responses, truncated=(True, False, True)) == (1, 0, 2)


def test_the_fragment_it_moves_does_not_beat_a_full_wrong_answer():
    fragment, wrong = "it moves", "The red circle moves to the left."
    assert ranks(MOTION, fragment, wrong) == (0.5, 0.5)
    assert ranks(MOTION, fragment, wrong, truncated=(True, False)) == (1, 0)


@pytest.mark.parametrize(
    "item, response",
    [
        (COLOUR, "red"),
        (COLOUR, "It is red."),
        (COLOUR, "The colour of the circle is red."),
        (MOTION, "It moves right."),
        (MOTION, "it goes to the right"),
        (CHOICE, "red circle comes first"),
        (("What is he playing?", "guitar", ()), "He is playing a guitar."),
        (("Is the circle red?", "Yes, the circle is red.", ()), "Yes."),
    ],
)
def test_the_same_content_in_other_words_is_partial(item, response):
    assert level(item, response) == Level.PARTIAL


@pytest.mark.parametrize(
    "item, response",
    [
        (COLOUR, "The circle is blue."),  # the template without its one key word
        (COLOUR, "The circle is red and blue."),  # hedged
        (COLOUR, "The circle is not red."),  # negated
        (COLOUR, "red red red red"),  # repeated
        (COLOUR, "What colour is the circle?"),
        (COLOUR, "circle"),
        (COLOUR, ""),
        (COLOUR, "..."),
        (MOTION, "It moves to the left."),
        (MOTION, "It moves."),
        (MOTION, "right moves"),  # another order
        (CHOICE, "The blue square comes first."),  # only words of the question
        (CHOICE, "It comes first."),
    ],
)
def test_overlap_by_itself_earns_nothing(item, response):
    assert level(item, response) == Level.WRONG


def test_partial_answers_are_graded_by_overlap():
    # shared / longer: "it is a red" 4 / 5 with the paraphrase, "it is red" 3 / 5, "red" 1 / 4
    assert ranks(COLOUR, "red", "It is a red.", "It is red.") == (2, 0, 1)
    overlaps = [grade.overlap for grade in grade_responses(request(COLOUR, "red", "It is red."))]
    assert overlaps == [0.25, 0.6]


@unhurried
@given(st.integers(0, 10_000))
def test_no_wrong_value_of_the_embedded_world_earns_credit(seed):
    rng = np.random.default_rng(seed)
    for question in questions(sample_scene(rng), rng):
        reference, *paraphrases = question.answers(question.value)
        for value in VALUES[question.task_type]:
            for response in question.answers(value):
                got = level((question.text, reference, tuple(paraphrases)), response)
                expected = Level.EXACT if response == reference else Level.PARAPHRASE
                assert got == (expected if value == question.value else Level.WRONG)


def test_scores_are_qualities():
    responses = ("THE CIRCLE IS RED", "It is a red circle", "It is red", "blue")
    # partial 0.5 * 3 / 5; truncated half of that minus 1
    assert scores(COLOUR, *responses) == (1.0, 0.9, 0.3, 0.0)
    assert scores(COLOUR, *responses, truncated=(True,) * 4) == (-0.5, -0.55, -0.85, -1.0)


@st.composite
def grades(draw):
    """Any possible grade: only partial ones have an overlap."""
    level = draw(st.sampled_from(Level))
    longest = draw(st.integers(1, 60))
    overlap = draw(st.integers(1, longest)) / longest if level == Level.PARTIAL else 0.0
    return Grade(draw(st.booleans()), level, overlap)


@unhurried
@given(grades(), grades())
def test_qualities_are_in_the_order_of_grades(one, other):
    assert (one < other) == (one.quality < other.quality)
    assert (one == other) == (one.quality == other.quality)
    assert -1 <= one.quality <= 1 and (one.quality >= 0) == one.complete


words = st.lists(st.sampled_from("the circle is red blue it a".split()), max_size=5).map(" ".join)


@unhurried
@given(
    st.permutations(range(5)),
    st.lists(words, min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_the_order_of_presentation_does_not_matter(order, responses, truncated):
    straight = ranks(COLOUR, *responses, truncated=truncated)
    shuffled = ranks(
        COLOUR, *[responses[i] for i in order], truncated=[truncated[i] for i in order]
    )
    assert shuffled == tuple(straight[i] for i in order)


@unhurried
@given(st.lists(words, min_size=5, max_size=5), st.lists(st.booleans(), min_size=5, max_size=5))
def test_complete_responses_come_before_truncated_ones(responses, truncated):
    given_ranks = ranks(COLOUR, *responses, truncated=truncated)
    complete = [rank for rank, cut in zip(given_ranks, truncated, strict=True) if not cut]
    cut_off = [rank for rank, cut in zip(given_ranks, truncated, strict=True) if cut]
    assert not complete or not cut_off or max(complete) < min(cut_off)


@pytest.mark.parametrize("reference", [None, "", " ?"])
def test_without_a_reference_there_is_no_ranking(reference):
    bare = RankRequest("p", "What?", ("a", "b"), reference=reference, paraphrases=("a",))
    expected = Ranking.invalid("the request has no reference answer", 2)
    assert ReferenceOracle().rank([bare, request(COLOUR, "x")])[0] == expected


def test_raw_gives_the_grades():
    ranking = ReferenceOracle().rank([request(COLOUR, "red", "x", truncated=(False, True))])[0]
    assert ranking.raw == "partial 0.25 | wrong, truncated"
