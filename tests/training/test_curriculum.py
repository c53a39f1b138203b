"""Phases of loaders: where they change, and how they resume after a stop."""

import json

import pytest

from orl_jax.training.curriculum import Curriculum


class Counting:
    """A loader of (name, 0), (name, 1), ..."""

    def __init__(self, name, bad_videos=0):
        self.name, self.bad_videos, self.wait_seconds = name, bad_videos, 0.5
        self.position, self.closed = 0, 0

    def __next__(self):
        self.position += 1
        return {"batch": f"{self.name}{self.position - 1}"}

    def close(self):
        self.closed += 1

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]


def make():
    """Two batches of a, three of b, then c for ever."""
    return Curriculum([(2, Counting("a", 1)), (5, Counting("b", 2)), (6, Counting("c"))])


def take(curriculum, count):
    return [next(curriculum)["batch"] for _ in range(count)]


ALL = ["a0", "a1", "b0", "b1", "b2", "c0", "c1", "c2"]


def test_phases_change_at_their_batches_and_the_last_goes_on():
    assert take(make(), 8) == ALL


@pytest.mark.parametrize("stop", range(8))
def test_goes_on_where_it_stopped(stop):
    curriculum = make()
    take(curriculum, stop)
    state = json.loads(json.dumps(curriculum.get_state()))
    resumed = make()
    resumed.set_state(state)
    assert resumed.get_state() == state
    assert take(resumed, 8 - stop) == ALL[stop:]


def test_a_state_of_other_phases_is_refused():
    with pytest.raises(ValueError, match="zip"):
        Curriculum([(2, Counting("a"))]).set_state(make().get_state())


def test_an_ended_phase_is_closed_at_once_and_all_at_the_end():
    loaders = [Counting("a"), Counting("b"), Counting("c")]
    with Curriculum(list(zip((2, 5, 6), loaders, strict=True))) as curriculum:
        take(curriculum, 2)
        assert [loader.closed for loader in loaders] == [0, 0, 0]
        take(curriculum, 1)
        assert [loader.closed for loader in loaders] == [1, 0, 0]
        take(curriculum, 5)
        assert [loader.closed for loader in loaders] == [1, 1, 0]
    assert [loader.closed for loader in loaders] == [2, 2, 1]


def test_an_empty_first_phase_is_passed_over():
    curriculum = Curriculum([(0, Counting("a")), (5, Counting("b"))])
    assert take(curriculum, 2) == ["b0", "b1"]


def test_counts_are_of_all_phases():
    curriculum = make()
    assert curriculum.bad_videos == 3
    assert curriculum.wait_seconds == 1.5
