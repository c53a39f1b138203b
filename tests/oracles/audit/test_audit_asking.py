"""Asks: their orders, one size a call, kept as they come, never asked twice."""

import json

import pytest
from audit_cases import audited, case, config, mean, write_groups

from orl_jax.oracles import ORACLES, FunctionOracle
from orl_jax.oracles.audit.asking import Ask, ask_all, plan, present
from orl_jax.oracles.audit.settings import AuditSettings
from orl_jax.oracles.baselines import longest
from orl_jax.run.errors import UserError
from orl_jax.run.lock import Lock


class Counting:
    """Prefers long answers, remembers what it was asked, and is killed at a call."""

    def __init__(self, killed_at=None):
        self.asked, self.calls, self.killed_at = [], 0, killed_at

    def rank(self, requests):
        self.calls += 1
        if self.calls == self.killed_at:
            raise KeyboardInterrupt
        self.asked += [(r.prompt_id, r.responses) for r in requests]
        assert len({r.size for r in requests}) == 1
        return [longest(request) for request in requests]


@pytest.fixture
def groups(tmp_path):
    return write_groups(tmp_path / "groups.jsonl", 30)


def test_the_plan():
    cases = [case("abcde", key="one"), case("aab", key="two"), case("ab", key="three")]
    settings = AuditSettings("x", shuffles=4, pairs=5)
    asks = plan(cases, settings, ["listwise", "pairwise"])
    assert asks == plan(cases, settings, ["listwise", "pairwise"])
    of = {key: [a.slots for a in asks if a.key == key and a.part == "listwise"]
          for key in ("one", "two", "three")}  # fmt: skip
    assert all(sorted(slots) == [0, 1, 2, 3, 4] for slots in of["one"]) and len(of["one"]) == 4
    assert len(set(of["three"])) == len(of["three"]) <= 2  # two answers have two orders
    pairs = {(a.key, *sorted(a.slots)) for a in asks if a.part == "pairwise"}
    assert len(pairs) == 10 and {key for key, *_ in pairs} == {"one"}  # the others have no triple
    assert [a.part for a in plan(cases, settings, ["listwise", "exposed"])].count("exposed") > 7


def test_present_takes_the_flags_along():
    request = case("abc", truncated=(False, True, False)).request
    shown = present(request, (1, 2))
    assert shown.responses == ("b", "c") and shown.truncated == (True, False)
    assert shown.question == request.question


def test_groups_of_several_sizes_are_asked_apart(tmp_path):
    cases = [case("a" * n + "b", key=str(n)) for n in (1, 2, 3, 1)]
    cases = [c._replace(key=str(place)) for place, c in enumerate(cases)]
    settings = AuditSettings("x", shuffles=2, pairs=0)
    asks = plan(cases, settings, ["listwise"])
    oracle = Counting()
    replies = ask_all({"listwise": oracle}, cases, asks, tmp_path / "answers.jsonl")
    assert list(replies) == asks and oracle.calls == 3


def test_a_killed_audit_goes_on_and_asks_nothing_twice(groups, tmp_path, monkeypatch):
    whole = audited(Counting(), groups, tmp_path / "whole", monkeypatch, pairs=10)
    killed = Counting(killed_at=4)
    with pytest.raises(KeyboardInterrupt):
        audited(killed, groups, tmp_path / "run", monkeypatch, pairs=10)
    with open(tmp_path / "run" / "answers.jsonl", "a") as file:
        file.write('{"part": "listwise", "gro')  # it was killed while it wrote
    second = Counting()
    results = audited(second, groups, tmp_path / "run", monkeypatch, pairs=10)
    assert results["measures"] == whole["measures"]
    assert len(killed.asked) == 48 and not set(killed.asked) & set(second.asked)
    assert results["costs"]["asks"] == len(killed.asked) + len(second.asked)
    third = Counting()
    again = audited(third, groups, tmp_path / "run", monkeypatch, pairs=10, min_tau=0.9)
    assert third.calls == 0 and again["measures"] == whole["measures"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"valid": False}, "was changed since it was written"),
        ({"slots": [7, "x"], "seal": None}, "is not a reply"),
        ({"part": "none", "seal": None}, "is not a reply"),
    ],
)
def test_an_edited_answer_is_refused(groups, tmp_path, monkeypatch, change, words):
    audited(Counting(), groups, tmp_path, monkeypatch, pairs=0)
    path = tmp_path / "answers.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in [rows[0], rows[1] | change]))
    with pytest.raises(UserError, match=rf"answers.jsonl, line 2, {words}.*; delete the line"):
        audited(Counting(), groups, tmp_path, monkeypatch, pairs=0)


def test_answers_of_another_oracle_are_not_mixed_in(groups, tmp_path, monkeypatch):
    audited(longest, groups, tmp_path / "run", monkeypatch, pairs=0)
    monkeypatch.setitem(ORACLES, "judge", lambda section: FunctionOracle(longest))
    from orl_jax.oracles.audit.audit import audit

    other = config(groups, oracle={"name": "judge", "seed": 1}, pairs=0)
    with pytest.raises(UserError, match="answers of another Oracle.*choose another --workdir"):
        audit(other, str(tmp_path / "run"))
    same = config(groups, oracle={"name": "judge"}, pairs=0, served={"max_calls": 9})
    assert mean(audit(same, str(tmp_path / "run")), "tau") == pytest.approx(1)


def test_a_folder_that_another_process_uses_is_left_as_it_is(groups, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    refused = pytest.raises(UserError, match="in use by process .* choose another --workdir")
    with Lock(tmp_path, "wait"), refused:
        audited(longest, groups, tmp_path, monkeypatch, pairs=0)
    assert (tmp_path / "config.json").read_text() == "{}"


def test_what_is_kept_can_be_read_as_groups(groups, tmp_path, monkeypatch):
    from orl_jax.oracles.audit.asking import read_replies
    from orl_jax.oracles.groups import read_groups

    audited(longest, groups, tmp_path / "run", monkeypatch, pairs=3)
    path = tmp_path / "run" / "answers.jsonl"
    kept, replies = read_groups(path), read_replies(path)
    assert len(kept) == len(replies)
    assert all(isinstance(ask, Ask) and reply.ranking.valid for ask, reply in replies.items())
    assert kept[0].ranking.ranks == next(iter(replies.values())).ranking.ranks


def test_identical_answers_are_kept_as_the_oracle_ranks_them(tmp_path, monkeypatch):
    """`ask` ties them for training; the audit measures whether the Oracle does."""
    groups = write_groups(tmp_path / "groups.jsonl", 10, order=lambda number: [1, 2, 2, 3])
    found = audited(lambda request: range(request.size), groups, tmp_path / "run", monkeypatch)
    assert mean(found, "same_apart") == 1.0
