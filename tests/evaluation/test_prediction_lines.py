"""Predictions as lines of a file, as scripts/score.py reads them."""

import json

from orl_jax.evaluation.prediction import Prediction, write_predictions
from orl_jax.oracles.requests import make_requests


def test_extra_keys_are_at_the_top_level(tmp_path):
    mme = Prediction(
        "001-1", "Counting Problem", "/v/a.mp4", "How many?", "B", ["B. Two."], "B", True, [], 0.0,
        ["A. One.", "B. Two."],
        extra={"duration": "short", "question_id": "001-1", "item_id": "other"},
    )  # fmt: skip
    shapes = Prediction("t-0", "colour", "a.mp4", "Red?", "Yes.", [], "No.", False, [], 0.0)
    path = tmp_path / "predictions" / "rl_test.jsonl"
    write_predictions(path, [mme, shapes])
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["duration"] == "short" and first["options"] == ["A. One.", "B. Two."]
    assert first["item_id"] == "001-1"  # its own fields take precedence
    assert second["options"] == [] and "extra" not in second


def test_an_oracle_is_asked_with_the_options():
    item = {
        "item_id": "001-1", "question": "How many?", "options": ["A. One.", "B. Two."],
        "video": "a.mp4", "answer": "B", "paraphrases": ["B. Two."], "task_type": "counting",
    }  # fmt: skip
    (request,) = make_requests([item], [[("B", False), ("A", False)]], "")
    assert request.question.splitlines()[1:4] == ["How many?", "A. One.", "B. Two."]
