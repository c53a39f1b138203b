"""Means, intervals, pairs and tables of a comparison, by hand; the picture is drawn."""

import json

import pytest

from orl_jax.experiments.comparison.picture import draw
from orl_jax.experiments.comparison.summary import summarise
from orl_jax.experiments.comparison.table import to_markdown

LAST = {"kl": 0.02, "entropy": 0.3, "response/length_mean": 37.25}


def share(accuracy, n=100):
    return {"n": n, "accuracy": accuracy, "sampled_accuracy": accuracy - 0.1}


def result(arm, seed, accuracy, stage="rl", alarms=None):
    counting = {"counting": share(accuracy + 0.05, 50)}
    return {
        "arm": arm, "stage": stage, "seed": seed, "queries": 320,
        "seconds": {"training": 10.0 + seed, "run": 20.0},
        "splits": {"test": {**share(accuracy), "categories": counting}},
        "curves": {"validation/accuracy": [(0, 0.5), (10 + (stage == "sft") * seed, accuracy)],
                   "validation/sampled_accuracy": []},
        "first_direction": 0.9 if stage == "rl" else None,
        "last": LAST if stage == "rl" else {},
        "alarms": alarms or {},
    }  # fmt: skip


START = {"test": {**share(0.5), "categories": {"counting": share(0.4, 50)}}}
RESULTS = [
    result("signed 0", 0, 0.70), result("signed 0", 1, 0.74),
    result("printed", 0, 0.40, alarms={"wrong_direction": 1}),
    result("printed", 1, 0.42, alarms={"wrong_direction": 2, "entropy_collapse": 9}),
    result("more SFT", 0, 0.55, "sft"), result("more SFT", 1, 0.57, "sft"),
]  # fmt: skip


@pytest.fixture(scope="module")
def summary():
    return summarise(RESULTS, START, "test", "signed 0")


def test_arms_are_compared_seed_by_seed(summary):
    arms = summary["arms"]
    assert list(arms) == ["signed 0", "printed", "more SFT"]
    assert arms["printed"]["splits"]["test"]["accuracy"]["mean"] == pytest.approx(0.41)
    against = arms["printed"]["against_baseline"]  # -0.30 and -0.32
    assert against["mean"] == pytest.approx(-0.31)
    assert (against["low"], against["high"]) == pytest.approx((-0.32, -0.30))
    assert arms["signed 0"]["against_baseline"] is None  # it is the baseline
    assert arms["printed"]["categories"]["counting"]["mean"] == pytest.approx(0.46)
    assert arms["printed"]["seconds"]["mean"] == 10.5
    json.dumps(summary)


def test_alarms_and_curves_of_all_seeds(summary):
    alarms = summary["arms"]["printed"]["alarms"]
    assert alarms["wrong_direction"] == {"runs": 2, "step": 1}
    assert alarms["entropy_collapse"] == {"runs": 1, "step": 9}
    curve = summary["arms"]["printed"]["curves"]["validation/accuracy"]
    assert [point["step"] for point in curve] == [0, 10]
    assert curve[1]["mean"] == pytest.approx(0.41)
    control = summary["arms"]["more SFT"]["curves"]["validation/accuracy"]
    assert [point["step"] for point in control] == [0]  # seeds took different numbers of steps


def test_table_has_every_arm_in_per_cent(summary):
    overall, by_type = to_markdown(summary).strip().split("\n\n")
    cells = [[cell.strip() for cell in x.strip("| ").split(" | ")] for x in overall.splitlines()]
    rows = {row[0]: row for row in cells}
    assert rows["start"][2] == "50.0"
    assert rows["printed"][2:4] == ["41.0 [40.0, 42.0]", "31.0"]
    assert rows["printed"][4] == "-31.0 [-32.0, -30.0]"
    assert rows["printed"][7:9] == ["37.2", "+0.90"]
    assert "wrong_direction (2, 1)" in rows["printed"][9]
    assert rows["more SFT"][5] == "–"
    assert "counting (50)" in by_type and "+6.0" in by_type  # 0.46 against 0.40
    assert len({line.count("|") for line in overall.splitlines()}) == 1


def with_facts(found, score):
    facts = {"fact_score": score, "sampled_fact_score": score - 0.1, "words": 40.0}
    return found | facts | {"categories": {"scene description": share(0.0) | facts}}


def test_descriptions_are_compared_by_their_fact_scores(tmp_path):
    start = {"test": with_facts(START["test"], 0.5)}
    runs = [
        found | {"splits": {"test": with_facts(found["splits"]["test"], score)}}
        for found, score in zip(RESULTS[:4], (0.8, 0.9, 0.4, 0.6), strict=True)
    ]
    for found in runs:
        found["curves"] = found["curves"] | {"validation/fact_score": [(0, 0.5), (10, 0.6)]}
    summary = summarise(runs, start, "test", "signed 0")
    assert summary["measure"] == "fact_score"
    assert summary["arms"]["printed"]["against_baseline"]["mean"] == pytest.approx(-0.35)
    assert summary["arms"]["printed"]["splits"]["test"]["words"]["mean"] == 40.0
    overall, by_type = to_markdown(summary).strip().split("\n\n")
    printed = next(line for line in overall.splitlines() if line.startswith("| printed"))
    cells = [cell.strip() for cell in printed.strip("| ").split(" | ")]
    assert "test, fact score [95 %]" in overall
    assert (cells[2], cells[3]) == ("50.0 [40.0, 60.0]", "40.0")
    assert "scene description" in by_type and "+35.0" in by_type  # 0.85 against 0.5
    draw(summary, tmp_path / "comparison.png")


def test_one_seed_has_a_mean_and_no_interval(tmp_path):
    summary = summarise(RESULTS[::2], START, "test", "signed 0")
    printed = next(x for x in to_markdown(summary).splitlines() if x.startswith("| printed"))
    cells = [cell.strip() for cell in printed.split(" | ")]
    assert (cells[1], cells[2], cells[4]) == ("1", "40.0", "-30.0")
    draw(summary, tmp_path / "comparison.png")


def test_the_picture_is_drawn(summary, tmp_path):
    draw(summary, tmp_path / "comparison.png", "two arms")
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
