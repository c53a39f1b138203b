"""What may change when a run is resumed, and what may not."""

import pytest

from orl_jax.training.resuming import differences

STORED = {"name": "served", "served": {"model": "a", "timeout": 60.0}, "seed": 0}


@pytest.mark.parametrize(
    "now, different",
    [
        (STORED, []),
        ({**STORED, "lag": 1}, []),  # a key that was not there then
        ({"name": "served"}, []),
        ({**STORED, "seed": 1}, [("seed", 0, 1)]),
        ({**STORED, "served": {"model": "b", "timeout": 60.0}}, [("served.model", "a", "b")]),
        ({**STORED, "served": {**STORED["served"], "new": 1}}, []),
        ({**STORED, "served": ()}, [("served", STORED["served"], ())]),
    ],
)
def test_differences_by_hand(now, different):
    assert list(differences(STORED, now)) == different
