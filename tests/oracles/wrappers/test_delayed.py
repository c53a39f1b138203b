"""The wrapper that takes its time changes nothing else."""

import time

import pytest

from orl_jax.oracles import RankRequest, ReferenceOracle, make_oracle
from orl_jax.run.errors import UserError

REQUEST = RankRequest("p", "Red?", ("no", "yes"), reference="yes")


def test_it_answers_as_its_inner_one_after_so_many_seconds():
    oracle = make_oracle({"name": "delayed", "delay_seconds": 0.2})
    begin = time.monotonic()
    assert oracle.rank([REQUEST, REQUEST]) == ReferenceOracle().rank([REQUEST, REQUEST])
    assert 0.2 <= time.monotonic() - begin < 0.4  # a call, not a request


def test_a_negative_time_is_refused():
    with pytest.raises(UserError, match="oracle.delay_seconds is -1"):
        make_oracle({"name": "delayed", "delay_seconds": -1})
