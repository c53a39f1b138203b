"""Several Oracles as one, and a function as an Oracle."""

import sys

import pytest

from orl_jax.oracles import EnsembleOracle, Ranking, RankRequest, ask, make_oracle
from orl_jax.oracles.function import FunctionOracle, load_function
from orl_jax.run import stop
from orl_jax.run.errors import Failure, UserError

REQUEST = RankRequest("p0", "Red?", ("yes", "no", "perhaps"), reference="no")


class Says:
    """An Oracle that always gives the same answer."""

    def __init__(self, order):
        self._order = order

    def rank(self, requests):
        if self._order is None:
            raise OSError("gone")
        return [Ranking.from_order(self._order, request.size) for request in requests]


@pytest.mark.parametrize(
    ("orders", "ranks"),
    [
        (([0, 1, 2], [0, 1, 2]), (0, 1, 2)),
        (([0, 1, 2], [1, 0, 2]), (0.5, 0.5, 2)),
        # Ranks 0+2+0, 1+0+1, 2+1+2 of the three answers.
        (([0, 1, 2], [1, 2, 0], [0, 1, 2]), (0.5, 0.5, 2)),
        (([0, [1, 2]], [2, 0, 1]), (0, 2, 1)),
        (([0, 1, 2], None), (0, 1, 2)),
    ],
)
def test_mean_ranks_by_hand(orders, ranks):
    (ranking,) = EnsembleOracle(tuple(map(Says, orders))).rank([REQUEST])
    assert ranking.valid and ranking.ranks == ranks and not ranking.scores


def test_a_quorum():
    members = (Says([0, 1, 2]), Says(None), Says([9]))
    (ranking,) = EnsembleOracle(members, quorum=2).rank([REQUEST])
    assert not ranking.valid
    assert ranking.reason.startswith("1 of 3 members have a ranking: OSError: gone")
    for count, quorum in ((1, 1), (3, 0), (3, 4)):
        with pytest.raises(ValueError, match="members are 1|quorum is"):
            EnsembleOracle(members[:count], quorum)


def test_a_section_makes_an_ensemble():
    section = {"name": "ensemble", "members": ("reference", "graded"), "quorum": 2}
    assert make_oracle(section).rank([REQUEST])[0].ranks == (1.5, 0.0, 1.5)
    assert make_oracle({"name": "reversed", "inner": "ensemble", **dict(list(section.items())[1:])})
    for change, words in (
        ({"members": ("reference",)}, "oracle.members are 1"),
        ({"members": ("reference", "gpt")}, "oracle.members is 'gpt'; choose"),
        ({"members": ("reference", "ensemble")}, "oracle.members is 'ensemble'; choose"),
        ({"quorum": 3}, "oracle.quorum is 3"),
    ):
        with pytest.raises(UserError, match=words):
            make_oracle(section | change)


def shortest(request):
    """An order by length."""
    return sorted(range(request.size), key=lambda place: len(request.responses[place]))


def test_a_function():
    assert FunctionOracle(shortest).rank([REQUEST])[0].ranks == (1, 0, 2)
    answers = {"order": [2, [0, 1]], "twice": [0, 0, 1], "word": "best", "error": None}
    for name, answer in answers.items():
        (ranking,) = FunctionOracle(lambda _, a=answer: a if a else 1 / 0).rank([REQUEST])
        assert ranking.valid == (name == "order")
    assert "ZeroDivisionError" in ranking.reason
    said = Ranking.from_scores([0.1, 0.2, 0.3])
    assert FunctionOracle(lambda _: said).rank([REQUEST])[0] is said


def test_a_function_that_never_gave_an_order_stops_the_run():
    broken = FunctionOracle(lambda request: request.answers)
    words = r"gave no order for any of 2 requests.*no attribute 'answers' \(test_ensemble.py, line"
    with pytest.raises(Failure, match=words):
        ask(broken, [REQUEST, REQUEST])
    assert not ask(broken, [REQUEST])[0].valid  # of a single one, chance may be the reason
    orders = iter([[0, 1, 2], None, None, None])
    now_and_then = FunctionOracle(lambda _: next(orders))
    assert [r.valid for r in ask(now_and_then, [REQUEST] * 2)] == [True, False]
    assert [r.valid for r in ask(now_and_then, [REQUEST] * 2)] == [False, False]
    unsure = FunctionOracle(lambda request: Ranking.invalid("cannot tell", request.size))
    assert [r.reason for r in ask(unsure, [REQUEST] * 2)] == ["cannot tell"] * 2


def test_a_function_that_exits_does_not_end_the_run(monkeypatch):
    leaving = FunctionOracle(lambda _: sys.exit(0))
    assert ask(leaving, [REQUEST])[0].reason.startswith("SystemExit: 0")
    monkeypatch.setattr(stop, "requested", lambda: 15)  # by a signal, which ends the script
    with pytest.raises(SystemExit):
        ask(leaving, [REQUEST])


def test_a_function_by_name(tmp_path, monkeypatch):
    (tmp_path / "my_oracles.py").write_text(
        "def last(request):\n    return [2, 1, 0]\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert make_oracle({"name": "my_oracles:last"}).rank([REQUEST])[0].ranks == (2, 1, 0)
    for name, words in (
        ("my_oracles:first", "cannot be loaded"), ("no_such:thing", "cannot be loaded"),
        ("my_oracles:number", "which is 3, not a function"), ("my_oracles:", "cannot be loaded"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            load_function(name)
