"""Every data set is built from its official layout and read by open_split."""

import json

import pytest
from layouts import activitynet, config_of, video_mme_rows, videos, write_json

from orl_jax.data.preferences import read_preferences
from orl_jax.data.prepare import prepare
from orl_jax.data.source import open_split
from orl_jax.run.errors import UserError


def built(name, tmp_path, split="test", **settings):
    """Items by id, with "extra" read, and the record of the build."""
    config = config_of(name, tmp_path, **settings)
    folder = prepare(config)
    items = {item["item_id"]: item for item in open_split(folder, split)}
    for item in items.values():
        item["extra"] = json.loads(item["extra"])
    return items, json.loads((folder / "source.json").read_text())


@pytest.fixture
def official(tmp_path):
    return tmp_path / "official"


def test_activitynet_qa_joins_by_id(tmp_path, official):
    activitynet(official)
    videos(official / "videos", "v_a-b_c.mkv")
    items, record = built("activitynet_qa", tmp_path)
    answers = {key[-1]: (item["answer"], item["task_type"]) for key, item in items.items()}
    assert answers == {"1": ("yes", "yes/no"), "2": ("red", "colour"), "3": ("dog", "spatial")}
    assert record["left_out"] == {"without an answer": ["test: v_a-b_c_4"]}
    assert items["v_a-b_c_1"] == {
        "item_id": "v_a-b_c_1",
        "video": str(official / "videos" / "v_a-b_c.mkv"),
        "question": "is the café open",
        "answer": "yes",
        "paraphrases": [],
        "sft_answer": "yes",
        "task_type": "yes/no",
        "difficulty": 1,
        "options": [],
        "extra": {"question_id": "v_a-b_c_1", "video_name": "a-b_c"},
    }


def test_activitynet_qa_names_what_is_missing_or_wrong(tmp_path, official):
    official.mkdir()
    with pytest.raises(UserError, match="lacks train_q.json or val_q.json or test_q.json of Act"):
        built("activitynet_qa", tmp_path)
    activitynet(official)
    answers = json.loads((official / "test_a.json").read_text())
    (official / "test_a.json").unlink()
    with pytest.raises(
        UserError, match=r"lacks test_a.json of ActivityNet-QA: get it from its aut"
    ):
        built("activitynet_qa", tmp_path)
    write_json(official / "test_a.json", [*answers, answers[0]])
    with pytest.raises(UserError, match="answers v_a-b_c_3 twice"):
        built("activitynet_qa", tmp_path)
    write_json(official / "test_a.json", [answers[0] | {"type": 9}])
    with pytest.raises(UserError, match="type 9 of v_a-b_c_3 is not one of 0 to 8"):
        built("activitynet_qa", tmp_path)
    (official / "test_a.json").write_text("[{")
    with pytest.raises(
        UserError, match=r"test_a.json of ActivityNet-QA is not JSON \(Expecting prop"
    ):
        built("activitynet_qa", tmp_path)


def test_msvd_qa_finds_videos_under_both_names(tmp_path, official):
    asked = ["what is it?", "Who's there?", "is it?"]
    rows = [
        {"answer": "dog", "id": number, "question": text, "video_id": number}
        for number, text in enumerate(asked, 1)
    ]
    write_json(official / "test_qa.json", rows[::-1], windows=True)
    (official / "youtube_mapping.txt").write_bytes(b"-4wsuPCjDBc_5_15 vid1\r\nxyz_1_2 vid2\r\n")
    videos(tmp_path / "clips", "-4wsuPCjDBc_5_15.avi", "vid2.mp4", "vid3.WEBM")
    items, record = built("msvd_qa", tmp_path, videos=str(tmp_path / "clips"))
    names = {key: item["video"].rsplit("/")[-1] for key, item in items.items()}
    assert names == {"1": "-4wsuPCjDBc_5_15.avi", "2": "vid2.mp4", "3": "vid3.WEBM"}
    assert {key: item["task_type"] for key, item in items.items()} == {
        "1": "what", "2": "who", "3": "other",
    }  # fmt: skip
    assert record["counts"] == {"test": {"other": 1, "what": 1, "who": 1}}
    assert record["missing_videos"] == []
    (official / "youtube_mapping.txt").write_text("vid1\n")
    with pytest.raises(UserError, match='youtube_mapping.txt, line 1, is not "YOUTUBE_ID vidN"'):
        built("msvd_qa", tmp_path)


def test_msrvtt_qa_has_categories_and_all_splits(tmp_path, official):
    row = {"answer": "couch", "category_id": 14, "id": 158581, "question": "where?", "video_id": 7}
    for split in ("train", "val", "test"):
        write_json(official / f"{split}_qa.json", [row])
    items, record = built("msrvtt_qa", tmp_path, split="validation")
    assert items["158581"]["extra"] == {"video_id": "7", "category_id": 14}
    assert list(record["counts"]) == ["train", "validation", "test"]
    assert record["missing_videos"] == [str(official / "video7.mp4")]
    write_json(official / "val_qa.json", [row, {"id": 5, "question": "who?"}])
    with pytest.raises(UserError, match="val_qa.json, entry 2, lacks video_id"):
        built("msrvtt_qa", tmp_path)


def check_video_mme(items, official):
    assert sorted(items) == ["001-1", "001-2"]
    item = items["001-1"]
    assert item["answer"] == "C" and item["paraphrases"] == ["C. Three.", "Three."]
    assert item["options"] == ["A. One.", "B. Two.", "C. Three.", "D. Four."]
    assert item["task_type"] == "Counting Problem"
    assert item["video"] == str(official / "data" / "fFjv93ACGo8.mp4")
    assert item["extra"]["subtitles"] == str(official / "subtitle" / "fFjv93ACGo8.srt")
    assert item["extra"]["duration"] == "short" and item["extra"]["domain"] == "Knowledge"
    assert item["extra"]["sub_category"] == "Humanity & History"


@pytest.fixture
def video_mme(official):
    videos(official / "data", "fFjv93ACGo8.mp4")
    (official / "subtitle").mkdir()
    (official / "subtitle" / "fFjv93ACGo8.srt").write_text("1\n")
    return official


def test_video_mme_from_the_flat_table(tmp_path, video_mme):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = video_mme / "videomme" / "test-00000-of-00001.parquet"
    path.parent.mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(video_mme_rows()), path)
    check_video_mme(built("video_mme", tmp_path)[0], video_mme)
    path.write_bytes(b"not a table")
    with pytest.raises(UserError, match="test-00000-of-00001.parquet is not a parquet file"):
        built("video_mme", tmp_path)


def test_a_table_without_pyarrow(tmp_path, video_mme, monkeypatch):
    (video_mme / "test.parquet").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow: pip install 'orl_jax\[parquet\]'"):
        built("video_mme", tmp_path)


OLDER = {
    "duration": "duration_category", "domain": "video_category",
    "sub_category": "video_subcategory", "options": "choices",
}  # fmt: skip


@pytest.mark.parametrize("keys", [{}, OLDER], ids=["current", "june 2024"])
def test_video_mme_from_the_list_of_videos(tmp_path, video_mme, keys):
    rows = [
        {keys.get(k, k): v for k, v in row.items() if k != "videoID"} for row in video_mme_rows()
    ]
    own = ("question_id", "task_type", "question", keys.get("options", "options"), "answer")
    video = {key: value for key, value in rows[0].items() if key not in own}
    video["questions"] = [{key: row[key] for key in own} for row in rows]
    write_json(video_mme / "Video-MME.json", [video])
    check_video_mme(built("video_mme", tmp_path)[0], video_mme)
    video["questions"][1]["answer"] = "E"
    write_json(video_mme / "Video-MME.json", [video])
    with pytest.raises(UserError, match='answer "E" of 001-2 is not the letter of one of its 4'):
        built("video_mme", tmp_path)
    write_json(video_mme / "other.json", [])
    with pytest.raises(UserError, match=r"holds Video-MME.json, other.json: leave only one"):
        built("video_mme", tmp_path)


def test_video_chatgpt_asks_both_questions_of_a_pair(tmp_path, official):
    write_json(
        official / "generic_qa.json", [{"video_name": "v_1", "Q": "What?", "A": "A man. " * 6}]
    )
    write_json(
        official / "consistency_qa.json", [{"video_name": "v_1", "Q1": "a?", "Q2": "b?", "A": "c"}]
    )
    items, record = built("video_chatgpt", tmp_path)
    pair = {key: item for key, item in items.items() if item["extra"].get("pair")}
    assert {key: item["question"] for key, item in pair.items()} == {
        "consistency-1-1": "a?",
        "consistency-1-2": "b?",
    }
    assert items["generic-1"]["difficulty"] == 2
    assert record["counts"] == {"test": {"consistency": 2, "generic": 1}}


def conversation(item_id, *values, images=("set_50frames/VID/img_01.jpg",) * 50, keys="from"):
    names = ("human", "gpt") if keys == "from" else ("user", "assistant")
    turns = [{keys: names[i % 2], "value": text} for i, text in enumerate(values)]
    return {"id": item_id, "uid": 3, "conversations": turns, "images": list(images)}


def test_the_baselines_conversations(tmp_path, official):
    rows = [
        conversation("a", "<image>\nWhat?", "A cat."),
        conversation("b", "What?\n<image>", "A dog.", "And?", "No.", keys="role"),
        conversation("c", "What?", "Two.", images=("s/V/1.jpg", "s/W/1.jpg")),
        conversation("d", "What?", ""),
    ]
    write_json(official / "SFT_long.json", rows)
    write_json(official / "RL_data.json", rows[3:])
    videos(official / "set", "VID.mp4")
    items, record = built("vlm_rlaif_sft", tmp_path, split="train")
    assert {key: (i["question"], i["answer"]) for key, i in items.items()} == {
        "SFT_long/a": ("What?", "A cat."),
        "SFT_long/b": ("What?", "A dog."),
    }
    assert items["SFT_long/a"]["video"] == str(official / "set" / "VID.mp4")
    assert items["SFT_long/a"]["difficulty"] == 2
    assert items["SFT_long/a"]["extra"] == {
        "id": "a", "frames": "set_50frames/VID", "images": 50, "turns": 2, "uid": 3,
    }  # fmt: skip
    assert record["left_out"] == {
        "later turns of a conversation": ["train: SFT_long/b"],
        "without frames of exactly one video": ["train: SFT_long/c"],
        "without an answer": ["train: SFT_long/d"],
    }
    config = config_of("vlm_rlaif_rl", tmp_path).unlock()
    config.data.folder = str(tmp_path / "rl")
    assert open_split(prepare(config), "train")[0]["answer"] == ""


def pair(preference, *, nested=False, turns=2, first="One."):
    row = conversation("", *["<image>\nHow many?", ""] * (turns // 2))
    turns = row["conversations"]
    return {
        "images": row["images"], "conversations": [turns] if nested else turns,
        "output_1": {"from": "gpt", "value": first}, "output_2": {"from": "gpt", "value": "Two."},
        "preference": preference,
    }  # fmt: skip


def test_the_baselines_preferences(tmp_path, official):
    rows = [pair(1), pair(2, nested=True), pair(1, turns=4), pair(1, first="")]
    rows.append(pair(1) | {"images": []})
    name = "RM_13b_v1_dataset_39k"
    write_json(official / f"{name}.json", rows)
    videos(official, "VID.mp4")
    items, record = built("vlm_rlaif_pairs", tmp_path, split="train")
    assert {key: (i["question"], i["answer"]) for key, i in items.items()} == {
        f"{name}/1": ("How many?", "One."),
        f"{name}/2": ("How many?", "Two."),
    }
    assert record["left_out"] == {
        "about a later turn of a conversation": [f"train: {name}/3"],
        "without two answers": [f"train: {name}/4"],
        "without frames of exactly one video": [f"train: {name}/5"],
    }
    pairs = read_preferences(tmp_path / "built" / "preferences.jsonl")
    assert [one["answers"] for one in pairs] == [
        (("One.", False), ("Two.", False)),
        (("Two.", False), ("One.", False)),
    ]
    assert pairs[0]["video"] == str(official / "VID.mp4") and pairs[0]["question"] == "How many?"
    write_json(official / f"{name}.json", [pair(3)])
    with pytest.raises(UserError, match="RM_13b.*.json, entry 1: preference is 3; it must be 1"):
        built("vlm_rlaif_pairs", tmp_path)
    (official / f"{name}.json").unlink()
    with pytest.raises(UserError, match="lacks RM_13b_v1_dataset_39k.json of VLM-RLAIF's prefer"):
        built("vlm_rlaif_pairs", tmp_path)


def test_own_json_lines(tmp_path, official):
    videos(official, "clips/a b.mp4")
    rows = [
        {"video": "clips/a b.mp4", "question": "Où?\u2028", "answer": 2, "paraphrases": ["two"]},
        {"video": "a b", "question": "What?", "answer": "x", "split": "test", "id": "mine",
         "sft_answer": "y", "difficulty": 2, "options": ["x", "y"], "task_type": "t", "more": [1]},
    ]  # fmt: skip
    lines = "\ufeff" + "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\r\n\r\n"
    (official / "items.jsonl").write_bytes(lines.encode())
    items, _ = built("own", tmp_path, split="train")
    assert items["items-1"]["question"] == "Où?" and items["items-1"]["answer"] == "2"
    assert items["items-1"]["paraphrases"] == ["two"] and items["items-1"]["extra"] == {}
    items, _ = built("own", tmp_path)
    assert items["mine"] == {
        "item_id": "mine", "video": str(official / "clips" / "a b.mp4"), "question": "What?",
        "answer": "x", "paraphrases": [], "sft_answer": "y", "task_type": "t", "difficulty": 2,
        "options": ["x", "y"], "extra": {"more": [1]},
    }  # fmt: skip


CSV = ["video,question,answer", *(f"{n}.mp4,Who {n}?,It is {n}." for n in range(100))]


@pytest.mark.parametrize(
    "line, text, words",
    [
        (50, '50.mp4,"Who 49?,It is', "from line 51, is not CSV .unexpected end of data"),
        (50, '50.mp4,Who?,"It is', "from line 51, is not CSV"),
        (50, '50.mp4,"Who?,It"s', "from line 51, is not CSV"),
        (50, '50.mp4,"' + "x" * 200_000 + '",It is', "from line 51, is not CSV .field larger"),
    ],
)
def test_an_unclosed_quotation_mark_loses_no_rows(tmp_path, official, line, text, words):
    official.mkdir()
    (official / "items.csv").write_text("\n".join(CSV[:line] + [text] + CSV[line + 1 :]))
    with pytest.raises(UserError, match=f"items.csv, {words}"):
        built("own", tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ""])
def test_a_quotation_mark_that_another_row_closes_loses_no_rows(tmp_path, official, suffix):
    official.mkdir()
    rows = [each.replace(".mp4", suffix) for each in CSV]
    rows[50], rows[99] = f'49{suffix},"Who,It is', f'98{suffix},Who?",It is'
    (official / "items.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match=f"line 100: a quoted text holds the row '50{suffix},Who"):
        built("own", tmp_path)
    rows[50], rows[99] = '49,"What\nis, by and large,\nthis?",It is', "98,Who?,It is"
    (official / "items.csv").write_text("\n".join(rows))
    record = built("own", tmp_path, split="train")[1]
    assert sum(record["counts"]["train"].values()) > 90


def test_own_csv(tmp_path, official):
    official.mkdir()
    text = '\ufeffvideo,question,answer,paraphrases\r\na.mp4,"Who, me?",you|me,You.|It is you.\r\n'
    (official / "test.csv").write_bytes(text.encode())
    items, _ = built("own", tmp_path)
    item = items["test-2"]
    assert (item["question"], item["answer"]) == ("Who, me?", "you|me")
    assert item["paraphrases"] == ["You.", "It is you."]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("items.jsonl", "{", "items.jsonl, line 1, is not JSON"),
        ("items.jsonl", "[]", "items.jsonl, line 1, is not a JSON object"),
        ("items.jsonl", '{"question": "a"}', "line 1, names no video"),
        ("items.jsonl", '{"video": "a", "split": "dev"}', 'split "dev" is not one of train, vali'),
        (
            "items.jsonl",
            '{"video": "a", "question": "Q", "answer": NaN}',
            "has nan, not a text",
        ),
        ("items.jsonl", '{"video": "a", "difficulty": 3}', "difficulty is 3; it must be 1 or 2"),
        ("items.jsonl", '{"video": "a", "question": "b"}', "no question of .* is left"),
        ("items.csv", "video,question\na,b\n", "items.csv lacks the column answer"),
        ("items.csv", "video,question,answer\na,b,c,d\n", "line 2, has more cells than columns"),
        ("notes.txt", "", "lacks items.jsonl or items.csv or .* of your own data"),
    ],
)
def test_what_is_wrong_with_own_data_is_named(tmp_path, official, name, text, message):
    official.mkdir()
    (official / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        built("own", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf_8(tmp_path, official):
    official.mkdir()
    (official / "items.csv").write_bytes("video,question,answer\na,Où?,b\n".encode("latin-1"))
    with pytest.raises(
        UserError, match=r"items.csv is not UTF-8 text \(.* at byte 25\); save it as"
    ):
        built("own", tmp_path)
