"""Files of predictions: those that are read and those that are refused, in one line."""

import json

import pytest

from orl_jax.evaluation.scoring.predictions import need, read_predictions
from orl_jax.run.errors import UserError

GOOD = {"item_id": "a", "response": "Red"}


def test_lines_that_evaluation_writes(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        json.dumps(GOOD) + "\n\n" + json.dumps({**GOOD, "item_id": "b\u2028"}, ensure_ascii=False)
    )
    assert [item["item_id"] for item in read_predictions(path)] == ["a", "b\u2028"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no predictions"), ("[]", "has no predictions"),
        ('{"item_id": "a"', "line 1, is not JSON"), ("[{", "is not JSON"),
        ("3", "line 1, is not a JSON object: 3"),
        ("[3]", "lists 3"), ('{"item_id": 3, "response": "x"}', "item 1 has item_id = 3"),
        ('{"item_id": "a"}', "item 1 has response = None"),
        (json.dumps(GOOD) + "\n" + json.dumps(GOOD), "has the item 'a' twice"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, text, words):
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_predictions(path)


def test_files_that_are_none(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name, what in (("missing", "cannot be read"), ("bytes", "not UTF-8"), (".", "a folder")):
        with pytest.raises(UserError, match=f"{what}.*; give a file of predictions"):
            read_predictions(tmp_path / name)


def test_what_a_protocol_needs():
    need([GOOD], ["response"], "this test")
    with pytest.raises(UserError, match="item 'a' has reference = None; this test needs a text"):
        need([GOOD], ["reference"], "this test")
