"""--evaluation=NAME=WORKDIR: what is refused, and how."""

import json

import pytest
from evaluated import benchmarks, choice, open_ended, write_evaluation

from orl_jax.evaluation.benchmarks.evaluations import choose_baseline, read_evaluations
from orl_jax.run.errors import UserError

ITEMS = [choice(k, "A", "A") for k in range(3)]


def refuses(match, *arguments):
    with pytest.raises(UserError, match=match):
        read_evaluations([str(argument) for argument in arguments])


@pytest.mark.parametrize("argument", ["", "SFT", "=here", "SFT=", " = "])
def test_a_malformed_argument(argument):
    refuses("is not NAME=WORKDIR; give --evaluation=NAME=WORKDIR", argument)


def test_nothing_and_too_much(tmp_path):
    refuses("--evaluation is missing")
    refuses("has 7 names; give 6 at most", *(f"m{k}={tmp_path}" for k in range(7)))


def test_no_folder_no_results_no_predictions(tmp_path):
    refuses("there is no such folder", f"SFT={tmp_path / 'nowhere'}")
    refuses(r"results.json cannot be read \(No such file", f"SFT={tmp_path}")
    (tmp_path / "results.json").write_text("{")
    refuses("is not JSON", f"SFT={tmp_path}")
    (tmp_path / "results.json").write_text(json.dumps({"sft": {"splits": {}}}))
    refuses("holds no evaluated splits", f"SFT={tmp_path}")
    write_evaluation(tmp_path / "a", ITEMS)
    (tmp_path / "a" / "predictions" / "rl_test.jsonl").unlink()
    refuses("names predictions/rl_test.jsonl, which is not there", f"SFT={tmp_path / 'a'}")


def test_predictions_that_are_not_named_are_found_by_the_split(tmp_path):
    write_evaluation(tmp_path, ITEMS, named=False)
    assert read_evaluations([f"SFT={tmp_path}"])[0].path.name == "rl_test.jsonl"
    folder = tmp_path / "predictions"
    (folder / "sft_test.jsonl").write_text((folder / "rl_test.jsonl").read_text())
    assert read_evaluations([f"SFT={tmp_path}"])[0].path.name == "rl_test.jsonl"  # by its stage
    (folder / "rl_test.jsonl").rename(folder / "more_test.jsonl")
    refuses(r"should have one file \*_test.jsonl \(more_test.jsonl, sft_test", f"SFT={tmp_path}")


def test_a_data_set_twice_under_one_name(tmp_path):
    one, two = (write_evaluation(tmp_path / name, ITEMS) for name in "ab")
    refuses("SFT has the split test of video_mme twice", f"SFT={one}", f"SFT={two}")
    assert len(read_evaluations([f"SFT={one}", f"RL={two}"])) == 2
    write_evaluation(two, ITEMS, dataset="own")
    assert len(read_evaluations([f"SFT={one}", f"SFT={two}"])) == 2


def test_the_baseline(tmp_path):
    found = read_evaluations(
        [f"{name}={write_evaluation(tmp_path / name, ITEMS)}" for name in "ab"]
    )
    assert choose_baseline(found, None) == "a" and choose_baseline(found, "b") == "b"
    with pytest.raises(UserError, match="--baseline=c is no --evaluation; choose from a, b"):
        choose_baseline(found, "c")


def test_models_that_share_no_items_or_differ_in_them(tmp_path):
    one = write_evaluation(tmp_path / "a", ITEMS)
    two = write_evaluation(tmp_path / "b", [choice(9, "A", "A")])
    with pytest.raises(UserError, match="RL on Video-MME, test"):
        benchmarks(("SFT", one), ("RL", two))
    write_evaluation(two, [choice(0, "B", "A")])
    with pytest.raises(UserError, match="'q0' has another reference in SFT"):
        benchmarks(("SFT", one), ("RL", two))
    write_evaluation(two, [open_ended(0, "A")])
    with pytest.raises(UserError, match="RL has items of video_mme without options"):
        benchmarks(("SFT", one), ("RL", two))


def test_a_baseline_that_was_not_evaluated_on_a_benchmark(tmp_path):
    one = write_evaluation(tmp_path / "a", ITEMS)
    two = write_evaluation(tmp_path / "b", [open_ended(0, "Red")], dataset="msvd_qa")
    first, second = benchmarks(("SFT", one), ("RL", two))
    assert first.baseline == "SFT" and second.baseline is None and not second.all["differences"]
