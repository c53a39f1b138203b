"""Requests, and how `ask` treats Oracles that fail."""

import logging
import subprocess
import sys

import pytest

from orl_jax.oracles import Oracle, OracleError, Ranking, RankRequest, ReferenceOracle, ask
from orl_jax.run.errors import UserError

REQUESTS = [RankRequest("p0", "?", ("a", "b", "c")), RankRequest("p1", "?", ("a", "b"))]
GOOD = [Ranking.from_order([2, 0, 1], 3), Ranking.from_order([1, 0], 2)]


class Says:
    """An Oracle that returns a given answer, or raises it."""

    def __init__(self, answer):
        self.answer = answer

    def rank(self, requests):
        """The answer."""
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def test_good_answers_pass_unchanged():
    assert ask(Says(GOOD), REQUESTS) == GOOD
    assert ask(Says(tuple(GOOD)), REQUESTS, "raise") == GOOD
    assert ask(Says([]), []) == []


@pytest.mark.parametrize(
    "answer, reason",
    [
        (TimeoutError("after 30 s"), "TimeoutError: after 30 s"),
        (GOOD[:1], "1 rankings for 2 requests"),
        (None, "TypeError"),
    ],
)
def test_a_failed_call_makes_all_rankings_invalid(answer, reason, caplog):
    with caplog.at_level(logging.WARNING):
        rankings = ask(Says(answer), REQUESTS)
    assert [len(ranking.ranks) for ranking in rankings] == [3, 2]
    assert all(not ranking.valid and reason in ranking.reason for ranking in rankings)
    assert "2 of 2 rankings are invalid" in caplog.text
    with pytest.raises(OracleError, match=reason):
        ask(Says(answer), REQUESTS, "raise")


@pytest.mark.parametrize(
    "bad, reason",
    [
        (Ranking.from_order([0, 1], 2), "2 ranks for 3 responses"),
        ([0, 1, 2], "not a Ranking but list"),
        (Ranking.invalid("it would not say", 3), "it would not say"),
    ],
)
def test_a_bad_ranking_affects_only_its_group(bad, reason, caplog):
    with caplog.at_level(logging.WARNING):
        rankings = ask(Says([bad, GOOD[1]]), REQUESTS)
    assert not rankings[0].valid and reason in rankings[0].reason and len(rankings[0].ranks) == 3
    assert rankings[1] == GOOD[1]
    assert "1 of 2 rankings are invalid, first p0" in caplog.text
    with pytest.raises(OracleError, match=f"p0: .*{reason}"):
        ask(Says([bad, GOOD[1]]), REQUESTS, "raise")


def test_seconds_are_those_of_the_oracle_or_a_share_of_the_call(monkeypatch):
    clock = iter([10.0, 13.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    own = Ranking.from_order([0, 1], 2, seconds=7.0)
    assert [ranking.seconds for ranking in ask(Says([GOOD[0], own]), REQUESTS)] == [1.5, 7.0]


@pytest.mark.parametrize("policy", ["skip", "raise"])
@pytest.mark.parametrize("error", [UserError("no such file"), KeyboardInterrupt()])
def test_errors_of_the_user_and_interrupts_pass(error, policy):
    with pytest.raises(type(error)):
        ask(Says(error), REQUESTS, policy)


@pytest.mark.parametrize(
    ("said", "ranks", "scores"),
    [
        (Ranking.from_order([0, 1, 2, 3], 4), (1.5, 0.0, 3.0, 1.5), ()),
        (Ranking.from_order([0, 1, 3, 2], 4), (1.0, 1.0, 3.0, 1.0), ()),  # b is between the two
        (Ranking.from_order([[0, 3], 2, 1], 4), (0.5, 3.0, 2.0, 0.5), ()),  # as it should be
        (Ranking.from_scores([0.9, 0.6, 0.1, 0.5]), (0.5, 2.0, 3.0, 0.5), (0.7, 0.6, 0.1, 0.7)),
        (
            Ranking.from_scores([1e308, 2.0, 3.0, 1.2e308]),
            (0.5, 3.0, 2.0, 0.5),
            (1.1e308, 2.0, 3.0, 1.1e308),
        ),
        (Ranking.invalid("it would not say", 4), (1.5,) * 4, ()),
    ],
)
def test_identical_answers_are_tied_whatever_the_oracle_says(said, ranks, scores):
    request = RankRequest("p", "?", ("a", "b", "c", "a"))
    (found,) = ask(Says([said]), [request])
    (left,) = ask(Says([said]), [request], tie_identical=False)
    assert left == said and found.valid == said.valid and found.reason == said.reason
    assert found.ranks == ranks and found.scores == pytest.approx(scores)


def test_a_truncated_answer_is_not_the_same():
    request = RankRequest("p", "?", ("a", "a"), truncated=(False, True))
    assert ask(Says([Ranking.from_order([0, 1], 2)]), [request])[0].ranks == (0.0, 1.0)


class Everything:
    """Raises, or says, what it was given."""

    def __init__(self, text):
        self.text = text

    def rank(self, requests):
        raise RuntimeError(self.text)


def test_what_an_oracle_of_ones_own_says_is_kept_clean(monkeypatch, caplog):
    monkeypatch.setenv("MY_API_KEY", "sk-0123456789")
    text = "bad key sk-0123456789 \x1b[2J\ud800\n" + "x" * 5000
    with caplog.at_level(logging.DEBUG):
        (failed,) = ask(Everything(text), REQUESTS[:1])
        (invalid,) = ask(Says([Ranking.invalid(text, 3, raw=text)]), REQUESTS[:1])
    for kept in (failed.reason, invalid.reason):
        assert "bad key [hidden key] [2J? xxx" in kept and len(kept) <= 1000
    assert "[hidden key]" in invalid.raw and "\ud800" not in invalid.raw
    assert "sk-0123456789" not in caplog.text + invalid.raw
    assert "\ud800" not in caplog.text and "\x1b" not in caplog.text
    assert max(map(len, caplog.text.splitlines())) < 1200


@pytest.mark.parametrize("seconds", ["soon", float("nan"), -1.0, None])
def test_seconds_that_are_none_are_replaced(seconds):
    said = Ranking.from_order([2, 0, 1], 3, seconds=seconds)
    assert 0 <= ask(Says([said]), REQUESTS[:1])[0].seconds < 5


def test_unknown_policy_names_the_choices():
    with pytest.raises(ValueError, match=r"'ignore'.*skip, raise"):
        ask(Says(GOOD), REQUESTS, "ignore")


def test_request_fills_in_and_checks_its_flags():
    assert RankRequest("p", "?", ["a", "b"]).truncated == (False, False)
    assert RankRequest("p", "?", ["a", "b"]).responses == ("a", "b")
    assert RankRequest("p", "?", ("a", "b"), truncated=[1, 0]).truncated == (True, False)
    with pytest.raises(ValueError, match="p: 2 responses but 1 truncated flags"):
        RankRequest("p", "?", ("a", "b"), truncated=(True,))
    with pytest.raises(ValueError, match="p: responses must be"):
        RankRequest("p", "?", ())
    with pytest.raises(ValueError, match="p: responses must be"):
        RankRequest("p", "?", "ab")


def test_the_protocol_is_the_method_rank():
    assert isinstance(ReferenceOracle(), Oracle) and isinstance(Says(GOOD), Oracle)
    assert not isinstance(object(), Oracle)


def test_oracles_do_not_import_jax():
    code = "import sys, orl_jax.oracles; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
