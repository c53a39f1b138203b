"""Every official form, of items that are read from official files and written by evaluation."""

import json

import pytest

from orl_jax.data.benchmarks.benchmark_source import BenchmarkSource
from orl_jax.data.benchmarks.collect import collect
from orl_jax.evaluation.prediction import Prediction, write_predictions
from orl_jax.evaluation.scoring.official import write_official
from orl_jax.evaluation.scoring.predictions import read_predictions
from orl_jax.evaluation.scoring.submission import to_submission
from orl_jax.run.errors import UserError

SAID = 'It\'s "né",\nnot 💧 {"pred": \\"yes\\"}\u2028.'  # after the item's id, so that they differ


def official_files(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def predictions(tmp_path, name):
    """What evaluation writes of the official files, read back."""
    folder = str(tmp_path / "files")
    source = BenchmarkSource(name, folder, validation_share=0.0)
    rows = [
        Prediction(
            item["item_id"], item["task_type"], item["video"], item["question"], item["answer"],
            item["paraphrases"], f"{item['item_id']} {SAID}", False, [], 0.0, item["options"],
            item["extra"],
        )
        for item in collect(source).splits["test"]
    ]  # fmt: skip
    write_predictions(tmp_path / "p.jsonl", rows)
    return read_predictions(tmp_path / "p.jsonl")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def video(number, duration="short", **more):
    question = {
        "question_id": f"00{number}-1", "task_type": "OCR Problems", "question": "Wo?",
        "options": ["A. Här.", "B. Da."], "answer": "B",
    }  # fmt: skip
    about = {"video_id": f"00{number}", "duration": duration, "domain": "Knowledge"}
    return {**about, "sub_category": "Law", "videoID": "x", "questions": [question], **more}


def test_video_mme(tmp_path):
    official_files(tmp_path / "files", videos=[video(1), video(2, "long")])
    items = predictions(tmp_path, "video_mme")
    path = write_official(tmp_path / "new" / "rl.1_test", "video_mme", items)
    assert path == tmp_path / "new" / "rl.1_test.json"
    written = read(path)
    for theirs, ours in zip([video(1), video(2, "long")], written, strict=True):
        theirs["questions"][0]["response"] = f"{theirs['questions'][0]['question_id']} {SAID}"
        del theirs["videoID"]
        assert ours == {**theirs, "missing": False}
    again = read_predictions(path)
    assert [(i["item_id"], i["response"]) for i in again] == [
        (i["item_id"], i["response"]) for i in items
    ]


def test_video_mme_of_videos_that_cannot_be_read(tmp_path):
    official_files(tmp_path / "files", videos=[video(1), video(2)])
    items = predictions(tmp_path, "video_mme")
    lost = dict(items[1], response=None)
    of_data_set = {
        "item_id": "003-1", "video": "x.mp4",
        "extra": json.dumps({k: v for k, v in video(3).items() if k != "questions"}),
    }  # fmt: skip
    missing = [lost, of_data_set, of_data_set, items[0]]
    path = write_official(tmp_path / "rl", "video_mme", items[:1], missing=missing)
    marks = {each["video_id"]: (each["missing"], len(each["questions"])) for each in read(path)}
    assert marks == {"001": (False, 1), "002": (True, 0), "003": (True, 0)}
    assert {(each["duration"], each["domain"]) for each in read(path)} == {("short", "Knowledge")}
    assert [item["item_id"] for item in read_predictions(path)] == ["001-1"]
    with pytest.raises(UserError, match="item 'a' has no duration; .* video, duration, domain"):
        to_submission([], [{"item_id": "a", "video": "b"}])


@pytest.mark.parametrize("name", ["msvd_qa", "msrvtt_qa"])
def test_zero_shot(tmp_path, name):
    row = {"answer": "a man", "id": 7, "question": "<image>\nwho is né?", "video_id": 3}
    official_files(tmp_path / "files", test_qa=[row])
    (item,) = predictions(tmp_path, name)
    item["response"] += "</s>"
    path = write_official(tmp_path / "rl_test", name, [item])
    assert read(path) == [
        {"id": "7", "question": "who is né?", "answer": "a man", "pred": f"7 {SAID}"}
    ]
    assert path.read_bytes().isascii()
    assert sorted(p.name for p in tmp_path.glob("rl*")) == ["rl_test.json"]
    del item["reference"]
    with pytest.raises(UserError, match="has reference = None; the form of zero-shot"):
        write_official(tmp_path / "rl_test", name, [item])


def test_activitynet_qa_has_its_own_script(tmp_path):
    asked = {"video_name": "a", "question_id": "v_a_1", "question": "is it?"}
    told = [{"answer": "yes", "type": 3, "question_id": "v_a_1"}]
    official_files(tmp_path / "files", test_q=[asked], test_a=told)
    (item,) = predictions(tmp_path, "activitynet_qa")
    path = write_official(tmp_path / "rl", "activitynet_qa", [item])
    (record,) = read(path)
    assert record == {
        "id": "v_a_1", "question": "is it?", "answer": "yes", "pred": f"v_a_1 {SAID}",
    }  # fmt: skip
    (exact,) = read(tmp_path / "rl_exact.json")
    assert exact == {"question_id": told[0]["question_id"], "answer": f"v_a_1 {SAID}"}


def chatgpt(tmp_path):
    one = [{"video_name": "v", "Q": f"Why {n}?", "A": "So né."} for n in (1, 2)]
    two = [{"video_name": "v", "Q1": f"Who {n}?", "Q2": f"Whom {n}?", "A": "He."} for n in (1, 2)]
    official_files(tmp_path / "files", generic_qa=one, temporal_qa=one[:1], consistency_qa=two)
    return predictions(tmp_path, "video_chatgpt")


def test_video_chatgpt(tmp_path):
    items = chatgpt(tmp_path)
    folder = write_official(tmp_path / "rl", "video_chatgpt", items[::-1])
    assert folder == tmp_path / "rl"
    names = ["consistency.json", "generic.json", "temporal.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    second, first = read(folder / "generic.json")
    assert second["Q"] == "Why 2?" and first == {
        "video_name": "v", "Q": "Why 1?", "A": "So né.", "pred": f"generic-1 {SAID}",
        "item_id": "generic-1",
    }  # fmt: skip
    assert len(read(folder / "temporal.json")) == 1
    first, second = read(folder / "consistency.json")
    assert second == {
        "video_name": "v", "Q1": "Who 2?", "Q2": "Whom 2?", "A": "He.",
        "pred1": f"consistency-2-1 {SAID}", "pred2": f"consistency-2-2 {SAID}",
        "item_id": "consistency-2",
    }  # fmt: skip
    by_id = {item["item_id"]: item for item in items}
    for item in read_predictions(folder / "generic.json"):
        assert all(by_id[item["item_id"]][name] == item[name] for name in item)
    again = read_predictions(folder / "consistency.json")
    assert [item["item_id"] for item in again] == ["consistency-1", "consistency-2"]
    assert again[0]["response_2"] == f"consistency-1-2 {SAID}"


def test_a_question_without_its_pair_is_left_out_and_counted(tmp_path, caplog):
    items = [item for item in chatgpt(tmp_path) if item["item_id"] != "consistency-1-2"]
    folder = write_official(tmp_path / "rl", "video_chatgpt", items)
    assert [each["item_id"] for each in read(folder / "consistency.json")] == ["consistency-2"]
    assert "1 pairs of consistency lack a question" in caplog.text
    alone = [item for item in items if item["item_id"] == "consistency-1-1"]
    assert write_official(tmp_path / "none", "video_chatgpt", alone) is None
    with pytest.raises(UserError, match="has pair = None; Video-ChatGPT's form of consistency"):
        write_official(tmp_path / "rl", "video_chatgpt", [{**alone[0], "pair": None}])


def test_other_data_sets_have_no_form(tmp_path):
    for name in ("shapes", "own", "vlm_rlaif_rl", ""):
        assert write_official(tmp_path / "rl", name, [{"item_id": "a", "response": "b"}]) is None
    assert not list(tmp_path.iterdir())
