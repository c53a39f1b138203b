"""A judge's verdicts in the report: which count, and when they are the headline."""

import json

import pytest
from evaluated import JUDGE, benchmarks, open_ended, write_evaluation, write_verdicts
from fault_server import served

from orl_jax.evaluation.benchmarks.notes import notes
from orl_jax.evaluation.scoring.judging import Settings
from orl_jax.evaluation.scoring.protocols import Protocol, score
from orl_jax.run.errors import UserError

ITEMS = [open_ended(k, "It is red." if k < 3 else "Blue") for k in range(5)]
SAYS = [("yes", 5), ("yes", 4), ("no", 1), ("no", 0), "unparsed"]


@pytest.fixture
def sft(tmp_path):
    workdir = write_evaluation(tmp_path / "sft", ITEMS, "msvd_qa")
    write_verdicts(workdir, ITEMS, SAYS)
    return workdir


def test_the_judge_is_the_headline(sft):
    (found,) = benchmarks(("SFT", sft))
    assert found.headline.measure == "judge_accuracy"
    cells = found.all["models"]["SFT"]
    assert (cells["judge_accuracy"]["mean"], cells["judge_accuracy"]["n"]) == (0.5, 4)
    assert cells["judge_score"]["mean"] == 2.5
    assert cells["judge_accuracy_unparsed_wrong"]["mean"] == 0.4
    said = " ".join(notes(found))
    assert "judge-1: 4 of 5 (4 parsed, 1 unparsed, 0 refused, 0 missing)" in said


def test_verdicts_on_other_answers_do_not_count(tmp_path, sft):
    changed = [open_ended(0, "Now green."), *ITEMS[1:]]
    write_evaluation(sft, changed, "msvd_qa")
    (found,) = benchmarks(("SFT", sft))
    assert found.all["models"]["SFT"]["judge_accuracy"]["n"] == 3
    assert any(note.endswith("or by others, unused: 1.") for note in notes(found))


def test_equal_answers_share_a_verdict(tmp_path):
    twins = [open_ended(k, "Red", question="Which colour?") for k in range(2)]
    workdir = write_evaluation(tmp_path, twins, "msvd_qa")
    write_verdicts(workdir, twins[1:], [("yes", 5)])
    assert benchmarks(("SFT", workdir))[0].all["models"]["SFT"]["judge_accuracy"]["n"] == 2


def test_a_judge_who_knows_one_model_alone_is_no_headline(tmp_path, sft):
    rl = write_evaluation(tmp_path / "rl", ITEMS, "msvd_qa")
    (found,) = benchmarks(("SFT", sft), ("RL", rl))
    assert (
        found.headline.measure == "normalised"
        and "a judge has only judged SFT" in found.headline.why
    )
    assert "judge_accuracy" in found.all["models"]["SFT"]
    assert "judge_accuracy" not in found.all["models"]["RL"]


def test_different_judges_are_no_headline(tmp_path, sft):
    rl = write_evaluation(tmp_path / "rl", ITEMS, "msvd_qa")
    write_verdicts(rl, ITEMS, SAYS, judge=(JUDGE[0], "judge-2"))
    (found,) = benchmarks(("SFT", sft), ("RL", rl))
    assert found.headline.measure == "normalised" and "different judges" in found.headline.why


def test_of_two_judges_one_must_be_named(sft):
    write_verdicts(sft, ITEMS, [("no", 0)] * 5, judge=(JUDGE[0], "judge-2"))
    with pytest.raises(UserError, match="judge-1 .*judge-2 .*--config.judge.model"):
        benchmarks(("SFT", sft))
    (found,) = benchmarks(("SFT", sft), judge=Settings(JUDGE[0], "judge-2"))
    assert found.all["models"]["SFT"]["judge_accuracy"]["mean"] == 0.0


def test_verdicts_that_name_no_judge_are_taken_by_item(sft):
    path = sft / "predictions" / "rl_test.judge.judged.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in lines:
        del entry["address"], entry["model"]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines) + '{"key": "cut')
    (found,) = benchmarks(("SFT", sft))
    assert found.all["models"]["SFT"]["judge_accuracy"]["mean"] == 0.5
    assert any("taken by item" in note for note in notes(found))
    path.write_text(path.read_text() + "\n" + json.dumps({**lines[0], "key": "other"}) + "\n")
    with pytest.raises(UserError, match="two verdicts on 'o0'"):
        benchmarks(("SFT", sft))


def test_what_scripts_score_writes_is_read(tmp_path):
    workdir = write_evaluation(tmp_path, ITEMS, "msvd_qa")

    def honest(body, wire):
        asked = json.loads(body["messages"][-1]["content"])
        kinds = body["response_format"]["json_schema"]["schema"]["properties"]
        pred = "yes" if "red" in asked["predicted answer"] else "no"
        wire.say(json.dumps({"check": kinds["check"]["enum"][0], "pred": pred, "score": 3}))

    with served(honest) as (address, _):
        judge = Settings(address, "judge-9", timeout=2.0)
        score(workdir / "predictions" / "rl_test.jsonl", Protocol("judge", judge))
    (found,) = benchmarks(("SFT", workdir))
    assert found.scored["SFT"].verdicts.model == "judge-9"
    assert found.all["models"]["SFT"]["judge_accuracy"]["mean"] == 0.6
