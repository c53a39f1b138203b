"""The numbers of a benchmark, by hand."""

import pytest
from evaluated import benchmarks, choice, open_ended, write_evaluation

from orl_jax.evaluation.benchmarks.notes import notes
from orl_jax.evaluation.benchmarks.published import published
from orl_jax.evaluation.benchmarks.summary import summary

# Reference A throughout. "(a)" is unanswered by the official script, and an A by the strict one.
SFT = ["A", "B", "(a)", "B", "A"]
RL = ["A", "A", "A", "A.", "C"]


@pytest.fixture
def pair(tmp_path):
    sft = write_evaluation(tmp_path / "sft", [choice(k, "A", said) for k, said in enumerate(SFT)])
    rl = write_evaluation(tmp_path / "rl", [choice(k, "A", said) for k, said in enumerate(RL)])
    return benchmarks(("SFT", sft), ("RL", rl))[0]


def test_the_measures_of_multiple_choice(pair):
    assert pair.measures == ["official", "official_of_all", "strict"]
    means = {
        model: [found[name]["mean"] for name in pair.measures]
        for model, found in pair.all["models"].items()
    }
    # SFT: 2 of the 4 answered, 2 of 5, 3 of 5. RL: 4 of 5 in each.
    assert means == {"SFT": [0.5, 0.4, 0.6], "RL": [0.8, 0.8, 0.8]}
    assert pair.all["models"]["SFT"]["official"]["n"] == 4 and pair.all["n"] == 5


def test_the_difference_is_paired(pair):
    # Both have answered q0, q1, q3, q4: +0, +1, +1, -1.
    found = pair.all["differences"]["RL"]["official"]
    assert found["difference"]["mean"] == 0.25 and found["difference"]["n"] == 4
    assert (found["mcnemar"]["only_first"], found["mcnemar"]["only_second"]) == (2, 1)
    assert found["mcnemar"]["p"] == pytest.approx(1.0)
    # Of all: q1, q2, q3 won, q4 lost; p = 2 (1 + 4) / 2^4.
    of_all = pair.all["differences"]["RL"]["official_of_all"]
    assert of_all["difference"]["mean"] == pytest.approx(0.4)
    assert of_all["mcnemar"]["p"] == pytest.approx(0.625)
    assert not found["excludes_0"] and not of_all["excludes_0"]


def test_a_difference_that_excludes_0(tmp_path):
    # 120 items of which only RL has 30 right: 0.25 with a standard error of 0.04.
    sft = write_evaluation(tmp_path / "a", [choice(k, "A", "B") for k in range(120)])
    rl = write_evaluation(tmp_path / "b", [choice(k, "A", "BA"[k < 30]) for k in range(120)])
    found = benchmarks(("SFT", sft), ("RL", rl))[0].all
    assert found["differences"]["RL"]["official"]["excludes_0"] and not found["small"]
    back = benchmarks(("SFT", sft), ("RL", rl), baseline="RL")[0].all["differences"]
    assert list(back) == ["SFT"] and back["SFT"]["official"]["difference"]["mean"] == -0.25


def test_two_items_that_both_gained_exclude_nothing(tmp_path):
    sft = write_evaluation(tmp_path / "a", [choice(k, "A", "B") for k in range(2)])
    rl = write_evaluation(tmp_path / "b", [choice(k, "A", "A") for k in range(2)])
    found = benchmarks(("SFT", sft), ("RL", rl))[0].all["differences"]["RL"]["official"]
    # Newcombe's interval leaves 0 out, but the exact test of two items says p = 0.5.
    assert 0 < found["difference"]["low"] < 0.1 and not found["excludes_0"]


@pytest.mark.parametrize(("count", "small"), [(99, True), (100, False)])
def test_small_cells(tmp_path, count, small):
    only = write_evaluation(tmp_path / "a", [choice(k, "A", "A") for k in range(count)])
    (found,) = benchmarks(("SFT", only))
    assert found.all["small"] is small and found.others == []
    assert any("Fewer than 100" in note for note in notes(found)) is small


def test_each_model_is_marked_by_its_own_number(tmp_path):
    many = write_evaluation(tmp_path / "a", [choice(k, "A", "A") for k in range(120)])
    few = write_evaluation(tmp_path / "b", [choice(k, "A", "A") for k in range(5)])
    rows = summary(benchmarks(("SFT", many), ("RL", few)))
    assert {row["model"]: row["small"] for row in rows} == {"SFT": False, "RL": True}


@pytest.mark.parametrize(("way", "said"), [("letter", True), ("text_likelihood", False)])
def test_different_ways_to_choose_are_said(tmp_path, way, said):
    items = [choice(k, "A", "A") for k in range(3)]
    sft = write_evaluation(tmp_path / "a", items, choice="text_likelihood")
    rl = write_evaluation(tmp_path / "b", items, choice=way)
    (found,) = benchmarks(("SFT", sft), ("RL", rl))
    words = "Multiple choice was answered in different ways (evaluation.choice): SFT by text_like"
    assert any(words in note for note in notes(found)) is said


def test_the_groups_of_video_mme(tmp_path):
    items = [
        choice(k, "A", "A", duration=("long", "short", "medium")[k % 3], domain="Law" if k else "")
        for k in range(6)
    ]
    (found,) = benchmarks(("SFT", write_evaluation(tmp_path, items)))
    assert [row["name"] for row in found.groups["duration"]] == ["short", "medium", "long"]
    assert [(row["name"], row["n"]) for row in found.groups["domain"]] == [("Law", 5)]
    assert "sub_category" not in found.groups


def test_open_ended_answers(tmp_path):
    said = ["red", "It is red.", "Blue", "Red"]
    items = [open_ended(k, text) for k, text in enumerate(said)]
    (found,) = benchmarks(("SFT", write_evaluation(tmp_path, items, "msvd_qa")))
    assert found.measures == ["normalised", "contains_word"] and found.title == "MSVD-QA"
    assert [found.all["models"]["SFT"][name]["mean"] for name in found.measures] == [0.5, 0.75]


def test_items_of_one_model_alone_and_skipped_ones_are_said(tmp_path):
    sft = write_evaluation(tmp_path / "a", [choice(k, "A", "A") for k in range(4)])
    rl = write_evaluation(
        tmp_path / "b", [choice(k, "A", "B") for k in (1, 2, 9)], skipped=["q0"], n=4
    )
    (found,) = benchmarks(("SFT", sft), ("RL", rl))
    assert found.all["n"] == 5
    assert found.all["differences"]["RL"]["official"]["difference"]["n"] == 2
    said = " ".join(notes(found))
    assert "RL: 1 item left out" in said and "results.json counts 4 items" in said
    assert "share 2 items; 1 are only RL's, 2 only SFT's" in said


def test_published_figures():
    assert published("msvd_qa", "test") == {
        "oracle_rlaif": 0.729, "vlm_rlaif": 0.685, "difference": 0.044,
    }  # fmt: skip
    assert published("video_mme", "test", "Temporal Perception")["vlm_rlaif"] == 0.498
    only = published("video_mme", "test", "Spatial Reasoning")
    assert only == {"oracle_rlaif": None, "vlm_rlaif": None, "difference": -0.038}
    assert published("video_mme", "test", "OCR Problems") is None
    assert published("msvd_qa", "validation") is None and published("own", "test") is None


def test_published_figures_stand_in_the_rows(pair):
    assert pair.groups["task_type"][0]["published"]["oracle_rlaif"] == 0.71
    assert pair.all["published"]["vlm_rlaif"] == 0.362
    assert any("not a comparison" in note for note in notes(pair))
