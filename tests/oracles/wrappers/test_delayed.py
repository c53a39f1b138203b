"""The delaying wrapper changes nothing else."""

import time

import pytest

from orl_jax.oracles import RankRequest, ReferenceOracle, make_oracle
from orl_jax.run.errors import UserError

REQUEST = RankRequest("p", "Red?", ("no", "yes"), reference="yes")


def test_it_answers_as_the_inner_oracle_after_the_delay():
    oracle = make_oracle({"name": "delayed", "delay_seconds": 0.2})
    begin = time.monotonic()
    assert oracle.rank([REQUEST, REQUEST]) == ReferenceOracle().rank([REQUEST, REQUEST])
    assert 0.2 <= time.monotonic() - begin < 0.4  # per call, not per request


def test_a_negative_time_is_refused():
    with pytest.raises(UserError, match="oracle.delay_seconds is -1"):
        make_oracle({"name": "delayed", "delay_seconds": -1})
