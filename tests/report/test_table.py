import copy
import json

import pytest

from orl_jax.report.table import accuracy_rows, accuracy_table

RESULTS = {
    "sft": {
        "splits": {
            "test": {
                "n": 300,
                "accuracy": 0.5,
                "sampled_accuracy": 0.4,
                "categories": {
                    "counting": {"n": 60, "accuracy": 0.75, "sampled_accuracy": 0.6},
                    "action recognition": {"n": 240, "accuracy": 0.4375},
                },
            }
        }
    },
    "rl": {
        "splits": {
            "test": {
                "n": 300,
                "accuracy": 0.7,
                "sampled_accuracy": 0.65,
                "categories": {
                    "counting": {"n": 60, "accuracy": 0.7},
                    "action recognition": {"n": 240, "accuracy": 0.7},
                },
            }
        }
    },
}


def test_the_table_word_for_word() -> None:
    assert accuracy_table(RESULTS).splitlines() == [
        "Exact match in %, test split",
        "--------------------------------------------",
        "task type             n    SFT    RL  change",
        "action recognition  240   43.8  70.0   +26.2",
        "counting             60*  75.0  70.0    -5.0",
        "--------------------------------------------",
        "all, greedy         300   50.0  70.0   +20.0",
        "all, sampled        300   40.0  65.0   +25.0",
        "",
        "* fewer than 100 items: a hint, not a measurement",
    ]


def test_the_control_gets_a_column_of_its_own() -> None:
    results = copy.deepcopy(RESULTS)
    results["control"] = copy.deepcopy(RESULTS["sft"])
    results["control"]["splits"]["test"]["accuracy"] = 0.53
    lines = accuracy_table(results).splitlines()
    assert lines[2].split() == ["task", "type", "n", "SFT", "control", "RL", "change"]
    total = next(line for line in lines if line.startswith("all, greedy"))
    assert total.split() == ["all,", "greedy", "300", "50.0", "53.0", "70.0", "+20.0"]
    del results["control"]["splits"]["test"]["categories"]["counting"]
    counting = next(x for x in accuracy_table(results).splitlines() if x.startswith("counting"))
    assert counting.split() == ["counting", "60*", "75.0", "-", "70.0", "-5.0"]


def test_columns_are_aligned_and_fit_a_terminal(example) -> None:
    results = json.loads((example.workdir / "results.json").read_text())
    lines = accuracy_table(results).splitlines()
    numbers = [line for line in lines if line[:1].islower() and line[-1].isdigit()]
    assert len(numbers) == 2 * (6 + 2)
    assert len({len(line) for line in numbers}) == 1 and len(numbers[0]) < 70
    assert all(line.isascii() for line in lines)


def test_rows_are_sorted_and_end_with_all() -> None:
    rows = accuracy_rows(RESULTS, "test")
    assert [row.name for row in rows] == ["action recognition", "counting", "all"]
    assert [row.small for row in rows] == [False, True, False]
    assert rows[1].change() == pytest.approx(-0.05)
    assert rows[1].change("sampled") is None
    assert accuracy_rows(RESULTS, "composition") == []


def test_an_evaluation_of_one_split_is_read_from_the_top_level() -> None:
    flat = {"sft": {"split": "composition", "n": 7, "accuracy": 0.5, "categories": {}}}
    assert accuracy_rows(flat, "composition")[-1].greedy["sft"] == 0.5
    assert accuracy_rows(flat, "test") == []


@pytest.mark.parametrize("results", [{}, {"seconds": {"rl": 1.0}}, {"sft": None}])
def test_nothing_to_show_is_said(results) -> None:
    assert accuracy_table(results).startswith("No evaluation to show")


def test_a_missing_model_leaves_a_dash() -> None:
    results = {"sft": RESULTS["sft"]}
    total = next(x for x in accuracy_table(results).splitlines() if x.startswith("all, greedy"))
    assert total.split() == ["all,", "greedy", "300", "50.0", "-"]
