"""The graded Oracle: examples by hand, and invariants."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_jax.oracles import RankRequest, ReferenceOracle, make_oracle
from orl_jax.oracles.graded import GradedOracle, nearness
from orl_jax.run.errors import UserError

NUMBERS = ("no", "one", "two", "three")
TIMES = ("near the start", "halfway", "near the end")
ORACLE = GradedOracle((NUMBERS, TIMES))


def ask(*responses, reference="There are three squares.", truncated=(), question="How many?"):
    return ORACLE.rank([RankRequest("p", question, responses, truncated, reference=reference)])[0]


def test_near_misses_come_before_far_ones():
    numbers = ("no squares", "two squares", "three squares")
    said = ask(*(f"There are {number}." for number in numbers), "There is one square.", "squares")
    assert said.ranks == (2.0, 1.0, 0.0, 3.0, 4.0)


def test_scores_by_hand():
    said = ask("There are three squares.", "There are two squares.", "yes")
    near = 0.5 * 3 / 4 + 0.5 * (1 - 1 / 3)
    assert said.scores == pytest.approx((1.0, -0.4 * (1 - near), -0.4))


def test_truncated_answers_stay_below_complete_ones():
    said = ask("There are two squares.", "yes", "There are", truncated=(True, False, True))
    assert said.ranks == (1.0, 0.0, 2.0)
    near = 0.5 * 3 / 4 + 0.5 * (1 - 1 / 3)
    assert said.scores == pytest.approx((-0.2 * (1 - near) - 1, -0.4, -0.2 * (1 - 1 / 4) - 1))


def test_values_may_be_phrases():
    assert nearness("It happens halfway.", "It happens near the end.", "When?", (TIMES,)) == (
        pytest.approx(0.5 * 2 / 5 + 0.5 * 0.5)
    )


def test_values_of_the_question_and_several_values_do_not_count():
    words = 3 / 4 / 2
    assert nearness("There are two squares", "There are three squares", "two?", (NUMBERS,)) == words
    hedged = nearness("two or three squares", "There are three squares", "", (NUMBERS,))
    assert hedged == 2 / 4 / 2


texts = st.lists(
    st.sampled_from("there are is no one two three squares yes halfway".split()), max_size=5
).map(" ".join)


@given(st.lists(texts, min_size=2, max_size=5), st.data())
def test_it_refines_the_reference_oracle(responses, data):
    cut = tuple(
        data.draw(st.lists(st.booleans(), min_size=len(responses), max_size=len(responses)))
    )
    request = RankRequest(
        "p", "How many?", tuple(responses), cut, reference="There are three squares."
    )
    (fine,), (coarse,) = ORACLE.rank([request]), ReferenceOracle().rank([request])
    for i, j in itertools.permutations(range(len(responses)), 2):
        if coarse.ranks[i] < coarse.ranks[j]:
            assert fine.ranks[i] < fine.ranks[j]


def test_no_reference_is_invalid():
    (said,) = ORACLE.rank([RankRequest("p", "How many?", ("one", "two"))])
    assert not said.valid and "no reference" in said.reason


def test_by_name_with_scales_from_the_config():
    oracle = make_oracle({"name": "graded", "scales": (NUMBERS, TIMES)})
    assert oracle == ORACLE
    assert make_oracle({"name": "distorted", "inner": "graded", "scales": (TIMES,)}).inner == (
        GradedOracle((TIMES,))
    )
    with pytest.raises(UserError, match=r"oracle\.scales has \('one', 'one'\)"):
        make_oracle({"name": "graded", "scales": (("one", "One"),)})
