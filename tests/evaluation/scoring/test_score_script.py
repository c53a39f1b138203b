"""scripts/score.py: its table, its files, and the same command after a kill."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
from fault_server import served
from judge_cases import honest, shown, write_predictions

import scripts
from orl_jax.evaluation.scoring.protocols import Protocol, comparison, score
from orl_jax.evaluation.scoring.table import comparison_table, table

ROOT = pathlib.Path(__file__).parents[3]


def command(*arguments):
    return [sys.executable, str(ROOT / "scripts/score.py"), *map(str, arguments)]


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the script: (status, output, errors)."""
    monkeypatch.chdir(ROOT)
    return lambda *arguments: (scripts.status_of("score", *arguments), *capsys.readouterr())


def test_the_table(tmp_path):
    path = write_predictions(tmp_path / "p.jsonl", ["Red"] * 150 + ["Blue"] * 51)
    lines = table(score(path, Protocol("text")).summary()).splitlines()
    assert lines[0].split() == "n normalised exact squad_exact f1 contains_word".split()
    names = [line.split()[:2] for line in lines[1:4]]
    assert names == [["even", "101"], ["odd", "100"], ["all", "201"]]
    assert lines[3].split()[2] == "74.6" and "*" not in "".join(lines)
    few = write_predictions(tmp_path / "few.jsonl", ["Red"] * 99 + ["Blue"] * 99)
    lines = table(score(few, Protocol("text")).summary()).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["even*", "odd*", "all"]
    assert lines[-1].startswith("* fewer than 100")


def test_the_table_of_a_comparison(tmp_path):
    better = write_predictions(tmp_path / "better.jsonl", ["Red", "Red", "Red", "Blue", "Red"])
    worse = write_predictions(tmp_path / "worse.jsonl", ["Blue", "Blue", "Blue", "Blue"])
    lines = comparison_table(
        comparison(*(score(path, Protocol("text")) for path in (better, worse)))
    ).splitlines()
    assert lines[0] == "difference on the 4 items of both (1 only here, 0 only there)"
    assert lines[1].split()[:2] == ["normalised", "+75.0"]
    assert lines[1].endswith("right only here 3, only there 0, p = 0.25")


def test_the_script_scores_compares_and_keeps_other_scores(tmp_path, run):
    one = write_predictions(tmp_path / "one.jsonl", ["Red", "Blue"])
    two = write_predictions(tmp_path / "two.jsonl", ["Blue", "Blue"])
    status, out, err = run(f"--predictions={one}", f"--against={two}")
    assert status == 0, err
    assert "p = 1" in out and "scores are in" in out
    assert run(f"--predictions={two}", "--protocol=text")[0] == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["one.jsonl"]["text"]["all"]["exact"]["mean"] == 0.5
    assert scores["two.jsonl"]["text"]["all"]["exact"]["mean"] == 0.0
    against = scores["one.jsonl"]["text"]["against"][str(two)]
    assert against["measures"]["exact"]["mcnemar"]["p"] == 1.0


def test_bad_usage_is_one_line(tmp_path, run):
    status, _, err = run(f"--predictions={tmp_path / 'none.jsonl'}")
    assert status == 2 and err.count("\n") == 1 and "cannot be read" in err
    path = write_predictions(tmp_path / "p.jsonl", ["Red"])
    (tmp_path / "scores.json").write_text("[1]")
    status, _, err = run(f"--predictions={path}")
    assert status == 2 and "holds no scores; choose another --output" in err


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_the_same_command_goes_on_after_a_kill_and_asks_nothing_twice(tmp_path, stop, run):
    path = write_predictions(tmp_path / "p.jsonl", [f"red {place}" for place in range(12)])
    waits, reached, answered = threading.Event(), threading.Event(), []

    def reply(body, wire):
        if len(answered) >= 5 and not waits.is_set():
            reached.set()
            waits.wait(60)
            if stop == signal.SIGKILL:
                return  # who asked is gone
        answered.append(shown(body)["predicted answer"])
        honest(body, wire)

    with served(reply) as (address, _):
        judge = (f"--config.judge.address={address}", "--config.judge.model=m")
        arguments = ("--protocol=judge", f"--predictions={path}", *judge)
        one = (*arguments, "--config.judge.concurrency=1")
        here = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command(*one), cwd=ROOT, env=here, stderr=subprocess.DEVNULL)
        assert reached.wait(90)
        process.send_signal(stop)
        if stop == signal.SIGKILL:
            process.wait(30)
        waits.set()
        assert process.wait(30) != 0
        assert len(answered) < 12
        status, out, err = run(*one)
    assert status == 0, err
    assert sorted(answered) == sorted(f"red {place}" for place in range(12))
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["p.jsonl"]["judge"]["all"]["accuracy"]["n"] == 12
    assert "12 parsed, 0 unparsed, 0 refused, 0 failed" in out
