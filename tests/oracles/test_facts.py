"""The Oracle that counts facts: examples by hand, and that neither length nor wording counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orl_jax.data.world.account import account_of
from orl_jax.data.world.description import TASK_TYPE
from orl_jax.data.world.scene import COLOURS, sample_scene
from orl_jax.data.world.wording import tell
from orl_jax.oracles import FactsOracle, RankRequest, make_oracle

REFERENCE = "A red circle moves up."


def ask(*responses, reference=REFERENCE, **fields):
    fields = {"task_type": TASK_TYPE, **fields}
    request = RankRequest("p", "Describe what happens.", responses, reference=reference, **fields)
    return FactsOracle().rank([request])[0]


def score(text, reference):
    return ask(text, reference=reference).scores[0]


def test_scores_by_hand():
    said = ask(
        "The red circle goes up.", "A red circle moves down.", "There is a red circle.", "Nothing."
    )
    assert said.scores == pytest.approx((1.0, 1 / 2, 2 / 3, 0.0))
    assert said.ranks == (0.0, 2.0, 1.0, 3.0)
    assert said.raw.startswith("2 right, 0 wrong, 0 missing | 1 right, 1 wrong, 1 missing")


def test_truncated_answers_come_below_complete_ones():
    said = ask(REFERENCE, "Nothing.", "A red circle", truncated=(True, False, True))
    assert said.scores == pytest.approx((-0.5, 0.0, 1 / 3 - 1)) and said.ranks == (1.0, 0.0, 2.0)


def test_naming_both_of_two_values_never_beats_naming_one():
    up, down = "A red circle moves up.", "A red circle moves down."
    assert score(f"{up} {down}", REFERENCE) < score(up, REFERENCE)
    assert score(f"{down} {up}", REFERENCE) == score(down, REFERENCE)


def test_other_questions_are_left_to_the_reference_oracle():
    said = ask("red", "It is blue.", reference="It is red.", task_type="attribute perception")
    assert said.ranks == (0.0, 1.0)


def test_a_reference_without_facts_is_invalid():
    for reference in ("A dog runs.", None):
        said = ask("a", "b", reference=reference)
        assert not said.valid and said.reason == "the reference answer states no facts"


def test_by_name():
    assert isinstance(make_oracle({"name": "facts"}), FactsOracle)
    noisy = make_oracle({"name": "noisy", "inner": "facts", "swap_probability": 0.1})
    assert isinstance(noisy.inner, FactsOracle)


@given(st.integers(0, 10_000), st.data())
def test_neither_length_nor_wording_counts(seed, data):
    """Only facts do: a right sentence more raises the score, a wrong one lowers it."""
    rng = np.random.default_rng(seed)
    account = account_of(sample_scene(rng, story=True))
    reference, said = " ".join(tell(account, rng)), tell(account, rng)
    scores = [score(" ".join(said[:count]), reference) for count in range(len(said) + 1)]
    assert scores[0] == 0.0 and scores[-1] == 1.0 and sorted(set(scores)) == scores
    count = data.draw(st.integers(1, len(said)))
    kept = said[:count]
    assert score(" ".join(kept + kept), reference) == scores[count]
    padded = " And so on. ".join(["Well, this is what the video shows.", *kept, "The end."])
    assert score(padded.upper(), reference) == scores[count]
    other = data.draw(st.sampled_from(sorted(set(COLOURS) - {s.colour for s in account.sights})))
    for wrong in (f"There is a {other} circle.", "There are no objects."):
        assert score(" ".join([*kept, wrong]), reference) < scores[count]
