"""Answers on disk: from which model, and about which item."""

import re

import pytest

from orl_jax.evaluation.answered import Answered
from orl_jax.evaluation.prediction import Prediction
from orl_jax.run.errors import UserError

ITEM = {
    "item_id": "a", "task_type": "colour", "video": "a.mp4", "question": "Which?",
    "answer": "Red.", "paraphrases": [],
}  # fmt: skip
ABOUT = {"checkpoints": [7], "seed": 0}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "answered" / "rl_test.jsonl"
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM) is None
        answered.add([Prediction.of(ITEM, "Red.", ["Blue."])])
    return path


def test_answers_persist(path):
    size = len(path.read_text())
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM) == Prediction.of(ITEM, "Red.", ["Blue."])
        assert len(answered) == 1
    assert len(path.read_text()) == size  # nothing is written twice


def test_answers_to_another_question_of_that_id_do_not_count(path):
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM | {"question": "Who?"}) is None


@pytest.mark.parametrize(
    "other", [{"checkpoints": [8], "seed": 0}, {"checkpoints": [7], "seed": 1}]
)
def test_answers_by_another_model_or_setting_are_dropped(path, other):
    with Answered(path, other) as answered:
        assert answered.get(ITEM) is None
    with Answered(path, ABOUT) as answered:
        assert len(answered) == 0


def test_answers_by_another_model_are_set_aside(path, caplog):
    text = path.read_text()
    with Answered(path, {"checkpoints": [8]}):
        assert path.with_name(path.name + ".before").read_text() == text
    assert "held 1 answers of another model" in caplog.text


def test_one_process_at_a_time_writes(path):
    with (
        Answered(path, ABOUT) as first,
        pytest.raises(UserError, match="answered is in use by process .*; wait for it, or"),
    ):
        Answered(path, {"checkpoints": [8]})
    with Answered(path, ABOUT) as again:  # and the first one's answers persist
        assert len(again) == len(first) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="answered cannot be made .*; choose another --workdir"):
        Answered(tmp_path / "file" / "answered" / "rl_test.jsonl", ABOUT)


def test_a_stop_says_that_answers_are_kept(path, caplog):
    with pytest.raises(KeyboardInterrupt), Answered(path, ABOUT):
        raise KeyboardInterrupt
    assert "stopped with 1 answers saved; the same command resumes" in caplog.text


def test_a_torn_line_is_asked_again(path):
    path.write_text(path.read_text()[:-20])
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM) is None
        answered.add([Prediction.of(ITEM, "Red.", ())])
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM).samples == []


@pytest.mark.parametrize("edit", [('"correct": true', '"correct": false'), ('"Red."', '"Blue."')])
def test_an_answer_that_was_edited_is_asked_again(path, edit, caplog):
    path.write_text(path.read_text().replace(*edit))
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM) is None
    assert "1 lines of" in caplog.text


@pytest.mark.parametrize("edit", [('"correct": true', '"correct": 1'), ('["Blue."]', '"Blue."')])
def test_an_unsealed_answer_of_other_types_is_asked_again(path, edit):
    text = re.sub(r', "seal": "\w+"', "", path.read_text())
    path.write_text(text)
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM) is not None  # as earlier versions wrote it
    path.write_text(text.replace(*edit))
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM) is None


def test_a_line_of_another_version_is_asked_again(path):
    path.write_text(path.read_text().replace('"samples_correct"', '"samples_right"'))
    with Answered(path, ABOUT) as answered:
        assert answered.get(ITEM) is None


def test_nothing_is_written_without_a_file(tmp_path):
    with Answered(None, ABOUT) as answered:
        answered.add([Prediction.of(ITEM, "Red.", ())])
        assert answered.get(ITEM).correct
    assert not list(tmp_path.iterdir())
