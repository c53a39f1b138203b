"""Items that two files share."""

import pytest

from orl_jax.evaluation.scoring.paired import shared
from orl_jax.run.errors import UserError


def test_items_are_found_by_their_ids():
    first = [{"item_id": "a", "question": "?"}, {"item_id": "b", "question": "!"}]
    second = [{"item_id": "b", "question": "!"}, {"item_id": "c"}, {"item_id": "a"}]
    assert shared(first[1:], second) == [(0, 0)]
    with pytest.raises(UserError, match="item 'a' has another question in --against: None"):
        shared(first, second)
    with pytest.raises(UserError, match="shares no item_id .*here 'b', there 'c'"):
        shared(first[1:], second[1:])
