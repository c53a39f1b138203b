"""Whole audits of judges whose measures are known."""

import json
import random

import numpy as np
import pytest
from audit_cases import audited, config, mean, write_groups
from fault_server import by_length, first_place, served

from orl_jax.oracles import FunctionOracle, NoisyOracle, Ranking, ReversedOracle
from orl_jax.oracles.audit.audit import audit
from orl_jax.oracles.baselines import longest


@pytest.fixture
def groups(tmp_path):
    return write_groups(tmp_path / "groups.jsonl")


def test_the_truth_against_itself(groups, tmp_path, monkeypatch):
    results = audited(longest, groups, tmp_path / "run", monkeypatch)
    ones = ("tau", "pair_accuracy", "top1", "self_tau", "self_top1", "transitive", "pairwise")
    for name in ones:
        found = results["measures"]["all"][name]
        assert found["mean"] == pytest.approx(1) and 0.7 < found["low"] < 0.95, name
    assert mean(results, "length_bias") == pytest.approx(0)
    assert mean(results, "top1_chance") == pytest.approx(1 / 5)
    assert results["position"]["all"]["effect"] == 0
    assert results["verdict"].startswith("verdict: PASS — tau 1.00 [0.82, 1.00], pairs")
    assert set(results["measures"]["task_types"]) == {"a", "b"}
    assert results["measures"]["task_types"]["a"]["groups"] == 20


def test_the_reverse(groups, tmp_path, monkeypatch):
    oracle = ReversedOracle(FunctionOracle(longest))
    results = audited(oracle, groups, tmp_path / "run", monkeypatch)
    assert mean(results, "tau") == pytest.approx(-1)
    assert mean(results, "pair_accuracy") == mean(results, "top1") == 0
    assert mean(results, "self_tau") == 1
    assert "tau -1.00 [-1.00, -0.82] is below audit.min_tau = 0.5; pairs" in results["verdict"]


def test_chance(tmp_path, monkeypatch):
    rng = random.Random(1)  # with one seed of twenty the interval misses 0

    def judge(request):
        return rng.sample(range(request.size), request.size)

    groups = write_groups(tmp_path / "groups.jsonl", 150)
    results = audited(judge, groups, tmp_path / "run", monkeypatch, pairs=20)
    tau = results["measures"]["all"]["tau"]
    assert tau["low"] < 0 < tau["high"] and tau["high"] - tau["low"] < 0.2
    assert mean(results, "top1") == pytest.approx(1 / 5, abs=0.06)
    assert mean(results, "self_tau") == pytest.approx(0, abs=0.1)
    # A random tournament has a quarter of its triples in a circle.
    assert mean(results, "transitive") == pytest.approx(0.75, abs=0.12)
    assert results["position"]["all"]["effect"] < 0.15
    assert results["position"]["all"]["p"] > 0.01


def test_the_pairs_that_noise_inverts(tmp_path, monkeypatch):
    # 20 % of the pairs, as `NoisyOracle` says.
    groups = write_groups(tmp_path / "groups.jsonl", 400)
    oracle = NoisyOracle(FunctionOracle(longest), swap_probability=0.283)
    results = audited(
        oracle, groups, tmp_path / "run", monkeypatch, pairs=0, max_groups=0, shuffles=2
    )
    assert mean(results, "pair_accuracy") == pytest.approx(0.8, abs=0.015)
    assert mean(results, "tau") == pytest.approx(0.6, abs=0.03)  # 2 * 0.8 - 1


def test_where_the_answers_stand_in_the_file_does_not_matter(groups, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    reordered = []
    for line in groups.read_text().splitlines():
        row = json.loads(line)
        order = rng.permutation(5)
        for key in ("responses", "truncated", "oracle_ranks", "oracle_scores"):
            row[key] = [row[key][index] for index in order]
        reordered.append(json.dumps(row))
    (tmp_path / "reordered.jsonl").write_text("\n".join(reordered))

    judge = FunctionOracle(lambda r: Ranking.from_scores([len(t) % 3 for t in r.responses]))
    first = audited(judge, groups, tmp_path / "one", monkeypatch, pairs=0)
    second = audited(judge, tmp_path / "reordered.jsonl", tmp_path / "two", monkeypatch, pairs=0)
    assert -1 < mean(first, "tau") < 1
    for name, found in first["measures"]["all"].items():
        assert second["measures"]["all"][name] == pytest.approx(found), name
    assert first["position"]["all"]["effect"] == second["position"]["all"]["effect"] == 0


def test_failures_are_counted_by_reason(groups, tmp_path, monkeypatch):
    def judge(request):
        if request.task_type == "a":
            raise TimeoutError(f"after {len(request.responses[0])} s")
        return [0, 0, 1] if request.prompt_id == "p1" else longest(request)

    results = audited(judge, groups, tmp_path / "run", monkeypatch, pairs=0)
    reasons, twice = results["invalid"]["reasons"], "responses [0] are named more than once"
    assert list(reasons) == ["TimeoutError", twice]  # the most frequent first
    assert 57 <= reasons["TimeoutError"] <= 60 and 2 <= reasons[twice] <= 3
    assert results["invalid"]["asks"] <= 120  # three a group, less the orders that chance repeats
    assert mean(results, "invalid") == pytest.approx(21 / 40)
    assert results["tau_left_out"] == {"no ranking": 21}
    assert mean(results, "tau") == pytest.approx(1)
    assert "invalid 0.53" in results["verdict"] and "FAIL" in results["verdict"]


def test_an_oracle_that_ties_all_does_not_pass(groups, tmp_path, monkeypatch):
    results = audited(lambda r: [list(range(r.size))], groups, tmp_path / "run", monkeypatch)
    assert results["tau_left_out"] == {"the Oracle ties all": 40}
    assert mean(results, "pair_accuracy") == 0.5 and mean(results, "tied_whole") == 1
    assert mean(results, "top1") == pytest.approx(mean(results, "top1_chance"))
    assert "verdict: FAIL" in results["verdict"] and "not measured: tau" in results["verdict"]


def test_same_answers_ranked_apart(tmp_path, monkeypatch):
    groups = write_groups(tmp_path / "groups.jsonl", 10, order=lambda number: [2, 1, 2, 3, 3])
    first = audited(
        lambda r: list(range(r.size)), groups, tmp_path / "one", monkeypatch, truth="none"
    )
    assert mean(first, "same_apart") == 1 and mean(first, "tau") is None
    assert first["tau_left_out"] == {"no truth": 10} and "not measured: tau" in first["verdict"]
    second = audited(longest, groups, tmp_path / "two", monkeypatch, truth="none")
    assert mean(second, "same_apart") == 0


def served_audit(reply, groups, workdir, **changes):
    with served(reply) as (address, bodies):
        settings = {"address": address, "model": "judge", "cache": str(workdir / "cache")}
        section = {"oracle": {"name": "served"}, "served": settings | changes, "max_groups": 24}
        return audit(config(groups, pairs=0, **section), str(workdir)), bodies


def test_a_judge_that_prefers_what_it_sees_first_is_seen_through(groups, tmp_path):
    results, bodies = served_audit(first_place, groups, tmp_path / "one", shuffles=1)
    assert results["position"]["all"]["effect"] > 0.85
    assert "position bias" in results["verdict"] and results["judge_position"] is None
    assert len(bodies) == results["costs"]["calls"] == 24 * 3
    assert results["costs"]["tokens"] == 7 * 24 * 3 and results["costs"]["price"] is None


def test_its_shuffles_average_it_out_and_the_judge_alone_is_shown(groups, tmp_path):
    results, bodies = served_audit(first_place, groups, tmp_path / "two", shuffles=3)
    assert results["position"]["all"]["effect"] < 0.3
    assert results["judge_position"]["effect"] > 0.85
    assert results["position"]["all"]["p"] > 0.01 > results["judge_position"]["p"]
    assert mean(results, "self_tau") < 0.3  # other shuffles, another order: no cache hid it
    assert len(bodies) == 24 * 3 * (3 + 1)


def test_an_honest_judge_passes_for_its_place(groups, tmp_path):
    results, _ = served_audit(by_length, groups, tmp_path / "three", shuffles=2)
    assert results["judge_position"]["effect"] == 0 == results["position"]["all"]["effect"]
    assert mean(results, "tau") == pytest.approx(-1)  # short answers; the truth likes long ones


@pytest.mark.parametrize("status", [200, 401])
def test_no_file_of_an_audit_has_the_key(tmp_path, monkeypatch, caplog, status):
    key = "sk-Secret-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)

    def reply(body, wire):
        said = f"Incorrect key {key}"
        wire.send(401, said.encode()) if status == 401 else wire.say(f"{said}: no order")

    groups = write_groups(tmp_path / "groups.jsonl", 6)
    with served(reply) as (address, _):
        settings = {"address": address, "model": "judge", "attempts": 1}
        section = {"oracle": {"name": "served"}, "served": settings, "pairs": 0}
        audit(config(groups, **section), str(tmp_path / "run"))
    files = [path for path in (tmp_path / "run").iterdir() if path.is_file()]
    assert {"answers.jsonl", "audit.json", "audit.md"} <= {path.name for path in files}
    assert not [path.name for path in files if key in path.read_text()] and key not in caplog.text
    assert "[hidden key]" in (tmp_path / "run" / "audit.md").read_text()
