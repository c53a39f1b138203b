"""The fuzz campaign of replies, in small."""

import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).parents[1])]

from fuzz.replies import campaign


def test_no_reply_does_harm(tmp_path):
    found = campaign(400, 0, tmp_path)
    assert set(found) == {"used", "refused"}, found
    assert min(found.values()) > 60
