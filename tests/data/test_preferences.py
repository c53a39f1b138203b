"""Preference pairs on disk and as arrays."""

import json

import numpy as np
import pytest

from orl_jax.data.preferences import preference, read_preferences
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json_lines

ITEM = {"item_id": "train/0-1", "video": "videos/train/0.mp4", "question": "What colour?"}


def test_a_line_has_the_baselines_fields():
    line = preference(ITEM, [("Blue.", False), ("It is", True)], preferred=0)
    assert line == {
        "id": "train/0-1",
        "video": "videos/train/0.mp4",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat colour?"},
            {"from": "gpt", "value": ""},
        ],
        "output_1": {"from": "gpt", "value": "Blue.", "truncated": False},
        "output_2": {"from": "gpt", "value": "It is", "truncated": True},
        "preference": 1,
    }


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "pairs.jsonl"
    lines = [preference(ITEM, [("a", False), ("b", True)], better) for better in (0, 1)]
    write_json_lines(path, lines)
    first, second = read_preferences(path)
    assert first["answers"] == (("a", False), ("b", True))
    assert second["answers"] == (("b", True), ("a", False))
    assert first["ranks"] == second["ranks"] == (0.0, 1.0)
    assert first["question"] == "What colour?" and first["item_id"] == "train/0-1"


def test_a_file_without_truncation_flags_is_read(tmp_path):
    line = preference(ITEM, [("a", False), ("b", False)], 1)
    for name in ("output_1", "output_2"):
        del line[name]["truncated"]
    write_json_lines(tmp_path / "pairs.jsonl", [line])
    assert read_preferences(tmp_path / "pairs.jsonl")[0]["answers"][0] == ("b", False)


@pytest.mark.parametrize("change", [{"preference": 0}, {"output_1": None}, {"conversations": []}])
def test_a_bad_line_is_named(tmp_path, change):
    path = tmp_path / "pairs.jsonl"
    good = preference(ITEM, [("a", False), ("b", False)], 0)
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, **change}) + "\n")
    with pytest.raises(UserError, match=r"pairs.jsonl, line 2, is not a preference pair"):
        read_preferences(path)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(UserError, match="make_preferences"):
        read_preferences(tmp_path / "nothing.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no preference pairs"):
        read_preferences(tmp_path / "empty.jsonl")


def test_sampled_answers_are_encoded_unchanged():
    tokenizer = build_word_tokenizer(["It is red. Blue."])
    encoder = PromptEncoder(tokenizer, visual_tokens=2, prompt_length=20, response_length=6)
    ids, mask = encoder.encode_sampled("It is red.", False, 6)
    np.testing.assert_array_equal(ids, encoder.encode_response("It is red.")[0])
    assert encoder.decode(ids) == ("It is red.", False)
    ids, mask = encoder.encode_sampled("It is", True, 6)
    assert mask.sum() == 2 and encoder.end_id not in ids
    ids, mask = encoder.encode_sampled("It is red. It is red.", False, 6)
    assert mask.all() and encoder.decode(ids)[1]  # cut, hence truncated
