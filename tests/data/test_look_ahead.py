"""Peeking at the next batch changes neither the batches nor the saved position."""

import pytest

from orl_jax.data.look_ahead import LookAhead


class Numbers:
    """0, 1, 2, …; the position is the next one."""

    bad_videos, wait_seconds = 3, 1.5

    def __init__(self):
        self.position = 0

    def __next__(self):
        self.position += 1
        return {"items": [self.position - 1]}

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]

    def merge_states(self, states):
        return states[0]


def taken(ahead, count):
    return [next(ahead)["items"][0] for _ in range(count)]


def test_a_peeked_batch_is_still_the_next():
    ahead = LookAhead(Numbers())
    assert taken(ahead, 2) == [0, 1]
    assert ahead.peek() is ahead.peek()
    assert ahead.peek()["items"] == [2]
    assert taken(ahead, 2) == [2, 3]


@pytest.mark.parametrize("peeks", [0, 1, 2])
def test_a_peeked_batch_counts_as_unread(peeks):
    ahead = LookAhead(Numbers())
    taken(ahead, 2)
    for _ in range(peeks):
        ahead.peek()
    state = ahead.get_state()
    assert state == {"position": 2}
    other = LookAhead(Numbers())
    other.peek()
    other.set_state(state)
    assert taken(other, 2) == [2, 3] == taken(ahead, 2)


def test_other_attributes_are_those_of_the_batches():
    ahead = LookAhead(Numbers())
    assert (ahead.bad_videos, ahead.wait_seconds) == (3, 1.5)
    assert ahead.merge_states([{"position": 7}]) == {"position": 7}
