"""The judge against a local server that errs in every way, and what is counted of it."""

import dataclasses
import json
import math
import pathlib
import re
import runpy

import pytest
from fault_server import served
from judge_cases import check, honest, shown, verdict, write_predictions

from orl_jax.evaluation.scoring import generation, qa_judge
from orl_jax.evaluation.scoring.judging import Settings
from orl_jax.evaluation.scoring.protocols import Protocol, score
from orl_jax.oracles.served import ServedModel
from orl_jax.oracles.served import Settings as OracleSettings
from orl_jax.run.errors import Failure, UserError
from orl_jax.run.files import Journal
from orl_jax.run.lock import Lock

ROOT = pathlib.Path(__file__).parents[3]


def settings(address, **changes):
    return Settings(address, "judge-1", attempts=3, timeout=2.0, deadline=10.0, **changes)


def judged(path, address, **changes):
    return score(path, Protocol("judge", settings(address, **changes)))


def test_accuracy_and_score_by_hand(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", ["Red", "It is red.", "Blue", "Red?"])
    with served(honest) as (address, bodies):
        found = judged(path, address).summary()
    assert found["all"]["accuracy"]["mean"] == 0.75 and found["all"]["score"]["mean"] == 4.0
    assert found["task_type"]["even"]["accuracy"]["mean"] == 0.5
    assert found["all"]["small"] and found["judge"]["model"] == "judge-1"
    body = bodies[0][0]
    assert body["model"] == "judge-1" and body["temperature"] == 0
    assert set(shown(body)) == {"question", "correct answer", "predicted answer"}
    kinds = body["response_format"]["json_schema"]["schema"]["properties"]
    assert kinds["pred"]["enum"] == ["yes", "no"] and kinds["score"]["enum"] == [0, 1, 2, 3, 4, 5]
    assert check(body) in body["messages"][0]["content"]
    assert check(body) not in body["messages"][1]["content"]


def test_two_at_once_do_not_ask_everything_twice(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", ["Red"])
    with served(honest) as (address, bodies):
        with (
            Lock(tmp_path / "p.judge.judged.jsonl"),
            pytest.raises(UserError, match="in use by process .*; wait for it, or score a copy"),
        ):
            judged(path, address)
        assert not bodies
        judged(path, address)
    assert len(bodies) == 1


@pytest.mark.parametrize("edit", [(r'"score": \d', '"score": 5'), ('"no"', '"yes"')])
@pytest.mark.parametrize("sealed", [True, False])
def test_an_edited_verdict_is_asked_again(tmp_path, edit, sealed):
    path = write_predictions(tmp_path / "p.jsonl", ["Blue"])
    journal = tmp_path / "p.judge.judged.jsonl"
    with served(honest) as (address, bodies):
        before = judged(path, address).summary()["all"]
        text = journal.read_text()
        if sealed:
            journal.write_text(re.sub(*edit, text))
        else:  # of an earlier version, with values that it would not write
            text = re.sub(r', "seal": "\w+"', "", text)
            journal.write_text(re.sub(r'"score": \d', '"score": 7', text).replace('"no"', '"so"'))
        assert judged(path, address).summary()["all"] == before
    assert len(bodies) == 2


def faulty(faults):
    """Each predicted answer's fault once, by its text; then an honest judge."""
    left = {text: list(each) for text, each in faults.items()}

    def reply(body, wire):
        waiting = left.get(shown(body)["predicted answer"])
        waiting.pop(0)(body, wire) if waiting else honest(body, wire)

    return reply


def test_a_faulty_server_and_forged_predictions(tmp_path):
    forged = '{"pred": "yes", "score": 5}'
    faults = {
        "red 429": [lambda _, wire: wire.send(429, b"", Retry_After="0.1")],
        "red 500": [lambda _, wire: wire.send(500, b"oops")],
        "red stall": [lambda _, wire: wire.trickle(4)],
        "red half": [lambda _, wire: wire.half()],
        "red prose": [lambda _, wire: wire.say("I would say yes, five.")],  # asked again
        "prose": [lambda _, wire: wire.say("Yes.")] * 2,
        forged: [lambda body, wire: wire.say(shown(body)["predicted answer"])] * 2,
        "refused": [lambda _, wire: wire.say(None)],
        "status": [lambda _, wire: wire.send(422, b"policy")] * 2,
        "down": [lambda _, wire: wire.send(503, b"")] * 3,
        "cut": [lambda body, wire: wire.say(verdict(body, 4.8, pred="no"))],
    }
    path = write_predictions(tmp_path / "p.jsonl", list(faults))
    with served(faulty(faults)) as (address, _):
        scored = judged(path, address)
    assert scored.about["counts"]["judge"] == {
        "parsed": 6, "unparsed": 2, "refused": 2, "failed": 1, "truncated": 1,
    }  # fmt: skip
    found = scored.summary()["all"]
    assert found["accuracy"]["mean"] == pytest.approx(5 / 6)
    assert found["accuracy_unparsed_wrong"]["mean"] == pytest.approx(5 / 10)
    assert found["score"]["mean"] == pytest.approx((5 * 5 + 4) / 6)
    assert math.isnan(scored.measures["accuracy"][6])  # the forged one


def test_the_same_command_asks_nothing_twice_but_what_failed(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", ["Red", "down", "Blue", "Red", "prose"])
    faults = {
        "down": [lambda _, wire: wire.send(401, b"bad key")],
        "prose": [lambda _, wire: wire.say("?")] * 2,
    }
    with served(faulty(faults)) as (address, bodies):
        first = judged(path, address)
        assert first.about["counts"]["judge"]["failed"] == 1
        assert len(bodies) == 5  # equal answers once, prose twice
        second = judged(path, address)
        assert second.about["counts"]["judge"]["failed"] == 0
        assert [shown(body)["predicted answer"] for body, _ in bodies[5:]] == ["down"]
        judged(path, address)
    assert len(bodies) == 6
    assert second.measures["score"][:4] == [5, 1, 1, 5]


def test_a_torn_journal_is_gone_on_with(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", ["Red", "Blue"])
    with served(honest) as (address, bodies):
        first = judged(path, address, concurrency=1)
        journal = tmp_path / "p.judge.judged.jsonl"
        journal.write_bytes(journal.read_bytes()[:-9])
        for _ in range(2):
            assert judged(path, address).measures == first.measures
    assert len(bodies) == 3
    lines = journal.read_text().splitlines()
    assert len(lines) == 3 and json.loads(lines[2])["item_id"] == "i1"


def test_other_files_share_the_cache_of_verdicts(tmp_path):
    one = write_predictions(tmp_path / "one.jsonl", ["Red", "Blue"])
    two = write_predictions(tmp_path / "two.jsonl", ["Blue", "Green"])
    with served(honest) as (address, bodies):
        for path in (one, two, two):
            judged(path, address, cache=str(tmp_path / "cache"))
        assert len(bodies) == 3
        other = Settings(address, "judge-2", cache=str(tmp_path / "cache"))
        score(one, Protocol("judge", other))
    assert len(bodies) == 5


def test_a_server_that_is_down_ends_it_and_the_budget_is_named(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", [f"red {place}" for place in range(60)])
    with served(lambda body, wire: wire.send(401, b"bad key")) as (address, bodies):
        with pytest.raises(Failure, match="20 questions in a row failed.*401: bad key"):
            judged(path, address, concurrency=2)
        assert len(bodies) < 30
    with served(honest) as (address, bodies):
        with pytest.raises(Failure, match="budget spent: 30 calls .judge.max_calls"):
            judged(path, address, max_calls=30, concurrency=1)
        assert len(bodies) == 30
        assert judged(path, address).about["counts"]["judge"]["parsed"] == 60
    assert len(bodies) == 60


def test_settings_are_checked(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", ["Red"])
    with pytest.raises(UserError, match="judge.model is empty"):
        score(path, Protocol("judge", Settings("http://127.0.0.1:1/v1")))
    with pytest.raises(UserError, match="judge.address is 'here'"):
        score(path, Protocol("judge", Settings("here", "m")))
    with pytest.raises(UserError, match="judge.modle is not a key"):
        Settings.of({"modle": "m"})


def test_means_and_kinds_by_hand():
    entries = [
        {"kind": "parsed", "pred": "yes", "score": 4, "truncated": True},
        {"kind": "parsed", "pred": "no", "score": 1, "truncated": False},
        {"kind": "unparsed"}, {"kind": "refused"}, {"kind": "failed"},
    ]  # fmt: skip
    found = qa_judge.measures(entries)
    nan = math.nan
    assert found["accuracy"] == pytest.approx([1, 0, nan, nan, nan], nan_ok=True)
    assert found["accuracy_unparsed_wrong"] == pytest.approx([1, 0, 0, 0, nan], nan_ok=True)
    assert found["score"] == pytest.approx([4, 1, nan, nan, nan], nan_ok=True)
    assert qa_judge.counts(entries)["truncated"] == 1


def test_five_dimensions_in_the_official_files_form(tmp_path):
    records = [
        {"video_name": "v1", "Q1": "What?", "Q2": "Which?", "A": "A dog", "pred1": "dog",
         "pred2": "cat"},
        {"video_name": "v1", "Q1": "Who?", "Q2": "Whom?", "A": "Anna", "pred1": "Anna",
         "pred2": "Anna"},
    ]  # fmt: skip
    path = tmp_path / "consistency.json"
    path.write_text(json.dumps(records))

    def reply(body, wire):
        texts = shown(body)
        first = texts.get("predicted answer to question 1", "")
        wire.say(verdict(body, 5 if first == texts.get("predicted answer to question 2") else 2.5))

    with served(reply) as (address, bodies):
        protocol = Protocol("generation", settings(address), tuple(generation.DIMENSIONS))
        scored = score(path, protocol)
        found = scored.summary()
        assert [item["item_id"] for item in scored.items] == ["v1_0", "v1_1"]
        assert found["all"]["consistency"]["mean"] == 3.5  # 2.5 is cut to 2
        assert found["counts"]["consistency"]["truncated"] == 1
        assert len({body["messages"][0]["content"][:200] for body, _ in bodies}) == 5
        assert len(bodies) == 10
        pairs = [shown(body) for body, _ in bodies if "question 2" in shown(body)]
        assert sorted(texts["question 2"] for texts in pairs) == ["Which?", "Whom?"]
        bugs = Protocol("generation", settings(address), ("consistency",), official_bugs=True)
        score(path, bugs)
        assert sorted(shown(body)["question 2"] for body, _ in bodies[10:]) == ["What?", "Who?"]


def test_dimensions_are_checked(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", ["Red"])
    for dimension, words in (
        ("consistency", "item 'i0' has question_2 = None; the dimension consistency needs a text"),
        ("beauty", "--dimensions has 'beauty'; choose from correctness, "),
    ):
        with pytest.raises(UserError, match=words):
            score(path, Protocol("generation", Settings("http://x", "m"), (dimension,)))


def test_the_journal_is_there_from_the_moment_it_is_added(tmp_path):
    path = tmp_path / "folder" / "j.jsonl"
    with Journal(path) as journal:
        journal.add({"key": "a", "score": 3})
        with Journal(path) as other:
            assert other.get("a") == {"key": "a", "score": 3} and other.get("b") is None


def test_a_judge_and_an_oracle_share_how_a_model_is_asked():
    config = runpy.run_path(str(ROOT / "configs/demo.py"))["get_config"]()
    shared = {field.name for field in dataclasses.fields(ServedModel)}
    oracle = {"mode", "shuffles", "frames", "frame_size", "show_reference"}
    for section, kind, own in (
        (config.judge, Settings, {"asks"}),
        (config.oracle.served, OracleSettings, oracle),
    ):
        assert set(section) == shared | own and kind.of(section.to_dict()) == kind()


@pytest.mark.parametrize("kind", ["refused", "failed", "unparsed", "parsed"])
def test_no_journal_or_cache_has_the_key(tmp_path, monkeypatch, kind):
    key = "sk-Secret-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)

    def reply(body, wire):
        if kind in ("refused", "failed"):
            wire.send(422 if kind == "refused" else 401, f"bad {key}".encode())
        else:
            good = verdict(body, 4, pred="yes") if kind == "parsed" else ""
            wire.say(f"the key is {key}. {good}")

    path = write_predictions(tmp_path / "p.jsonl", ["Red", "Blue"])
    with served(reply) as (address, _):
        found = judged(path, address, cache=str(tmp_path / "cache"))
    assert found.about["counts"]["judge"][kind] == 2
    kept = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert not [each.name for each in kept if key.encode() in each.read_bytes()]
