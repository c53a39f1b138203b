"""Judges that only count words."""

from orl_jax.oracles import RankRequest, make_oracle

REQUEST = RankRequest("p", "?", ("one two", "one", "one two three", "two", ""))


def ranks(name):
    return make_oracle({"name": f"orl_jax.oracles.baselines:{name}"}).rank([REQUEST])[0].ranks


def test_longest_first_and_equal_lengths_tied():
    assert ranks("longest") == (1, 2.5, 0, 2.5, 4)


def test_shortest_first():
    assert ranks("shortest") == (3, 1.5, 4, 1.5, 0)
