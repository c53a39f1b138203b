"""The fuzz campaign in small; `python tests/fuzz/run.py` runs it in full."""

import pytest
from fuzz import command_lines, data_files, videos
from fuzz.frame import is_good, outcome

from orl_jax.run.errors import UserError


@pytest.mark.parametrize(
    "part, count", [(videos, 40), (data_files, 60), (command_lines, 12)], ids=lambda v: str(v)[:30]
)
def test_nothing_ends_in_a_traceback_or_hangs(part, count, tmp_path, capfd):
    found = part.campaign(count, 7, tmp_path)
    assert is_good(found) and found["refused"] > 0, capfd.readouterr()


def test_a_fault_is_found(capfd):
    def fail(error):
        raise error

    assert outcome(lambda: fail(UserError("it is 3; it must be 2")), 1) == "refused"
    assert outcome(lambda: fail(UserError("two\nlines")), 1) == "not one line"
    assert outcome(lambda: fail(UserError("a" * 5000)), 1) == "not one line"
    assert outcome(lambda: fail(KeyError("a")), 1) == "traceback"
    assert outcome(lambda: fail(AssertionError("letters")), 1) == "wrong"
    assert outcome(lambda: [None for _ in iter(int, 1)], 0.2) == "hang"
    assert outcome(lambda: None, 1) == "used"
