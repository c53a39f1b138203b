"""Judges that only count words."""

import numpy as np

from orl_jax.oracles import RankRequest, make_oracle
from orl_jax.oracles.baselines import at_random

REQUEST = RankRequest("p", "?", ("one two", "one", "one two three", "two", ""))


def ranks(name):
    return make_oracle({"name": f"orl_jax.oracles.baselines:{name}"}).rank([REQUEST])[0].ranks


def test_longest_first_and_equal_lengths_tied():
    assert ranks("longest") == (1, 2.5, 0, 2.5, 4)


def test_shortest_first():
    assert ranks("shortest") == (3, 1.5, 4, 1.5, 0)


def test_any_order_at_random_but_always_the_same():
    responses = ("a b c d", "a", "a b", "a")
    requests = [RankRequest(str(n), "?", responses) for n in range(2000)]
    oracle = make_oracle({"name": "orl_jax.oracles.baselines:at_random"})
    found = np.array([ranking.ranks for ranking in oracle.rank(requests)])
    np.testing.assert_array_equal(found, [at_random(request).ranks for request in requests])
    np.testing.assert_array_equal(found[:, 1], found[:, 3])  # the same text
    share_first = (found[:, [0, 2]] == 0).mean(axis=0)  # of three different texts
    np.testing.assert_allclose(share_first, 1 / 3, atol=0.05)
