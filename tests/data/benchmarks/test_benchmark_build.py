"""Building: missing videos, duplicates, held-out videos, one data set per folder."""

import json
import logging

import pytest
from layouts import activitynet, config_of, videos, write_json

from orl_jax.data.prepare import prepare
from orl_jax.data.source import open_split
from orl_jax.run.errors import UserError


@pytest.fixture
def official(tmp_path):
    """Own data about four videos, one of them missing."""
    folder = tmp_path / "official"
    videos(folder, "0.mp4", "1.mp4", "2.mp4")
    rows = [
        {"video": f"{number % 4}.mp4", "question": f"What is {number}?", "answer": "x"}
        for number in range(8)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_missing_videos_are_kept_dropped_or_refused(tmp_path, official, caplog):
    caplog.set_level(logging.INFO)
    folder = prepare(config_of("own", tmp_path))
    assert len(open_split(folder, "train")) == 8
    assert "1 videos are missing" in caplog.text and "questions are kept" in caplog.text
    assert "no tokenizer is written" in caplog.text and not (folder / "tokenizer").exists()
    dropping = config_of("own", tmp_path, missing_videos="drop").unlock()
    dropping.data.folder = str(tmp_path / "dropped")
    assert len(open_split(prepare(dropping), "train")) == 6
    with pytest.raises(UserError, match=r"1 videos of your own data are missing \(.*/3.mp4\)"):
        prepare(config_of("own", tmp_path, missing_videos="raise"))


def test_duplicate_ids_are_refused_by_name(tmp_path, official):
    rows = [{"id": "a", "video": "0", "question": "b", "answer": "c"}] * 2
    (official / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"1 ids of your own data occur more .* \(test: a\)"):
        prepare(config_of("own", tmp_path))


def test_whole_videos_are_held_out_for_validation(tmp_path, official):
    folder = prepare(config_of("own", tmp_path, validation_share=0.01))
    sides = [{item["video"] for item in open_split(folder, s)} for s in ("train", "validation")]
    assert len(sides[1]) == 1 and len(sides[0]) == 3 and not sides[0] & sides[1]


def test_a_data_set_is_found_and_other_settings_are_refused(tmp_path, official):
    folder = prepare(config_of("own", tmp_path))
    before = (folder / "source.json").stat().st_mtime_ns
    prepare(config_of("own", tmp_path))
    assert (folder / "source.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="was built with missing_videos=keep, the config says drop"):
        prepare(config_of("own", tmp_path, missing_videos="drop"))
    with pytest.raises(UserError, match="holds a benchmark, the config says shapes"):
        prepare(config_of("shapes", tmp_path))
    with (official / "train.jsonl").open("a") as file:
        file.write('{"video": "0", "question": "New?", "answer": "y"}\n')
    with pytest.raises(UserError, match="have changed since .*built was built; delete the folder"):
        prepare(config_of("own", tmp_path))
    (folder / "source.json").unlink()  # as after an interrupted build
    assert len(open_split(prepare(config_of("own", tmp_path)), "train")) == 9


def test_unsuitable_folders_are_refused(tmp_path, official):
    config = config_of("own", tmp_path).unlock()
    config.data.folder = str(official)
    with pytest.raises(UserError, match="config.data.folder and config.source.folder are both"):
        prepare(config)
    with pytest.raises(UserError, match="config.source.folder is empty; set it to the folder with"):
        prepare(config_of("own", tmp_path, folder=""))
    with pytest.raises(UserError, match="no folder .*nowhere: set config.source.videos"):
        prepare(config_of("own", tmp_path, videos=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="no folder .*nowhere: set config.source.folder to the fil"):
        prepare(config_of("own", tmp_path, folder=str(tmp_path / "nowhere"), videos=""))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no video of your own data is in .*empty"):
        prepare(config_of("own", tmp_path, videos=str(tmp_path / "empty"), missing_videos="drop"))
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "world.json").write_text("{}")
    with pytest.raises(UserError, match="holds the embedded world, the config says own"):
        prepare(config_of("own", tmp_path))


def test_the_same_id_may_be_in_two_splits(tmp_path):
    folder = tmp_path / "official"
    activitynet(folder, "train")
    activitynet(folder, "test")
    built = prepare(config_of("activitynet_qa", tmp_path))
    assert len(open_split(built, "train")) == len(open_split(built, "test")) == 3


def test_a_file_that_is_not_a_list(tmp_path):
    write_json(tmp_path / "official" / "test_qa.json", {"a": 1})
    with pytest.raises(UserError, match="test_qa.json is not a JSON list of objects, as MSVD-QA"):
        prepare(config_of("msvd_qa", tmp_path))


def test_values_of_another_type(tmp_path):
    rows = [{"id": "a", "images": ["s/V/1.jpg"], "conversations": ["What?", "That."]}]
    write_json(tmp_path / "official" / "SFT_long.json", rows)
    with pytest.raises(UserError, match="are not laid out as those of VLM-RLAIF's SFT data"):
        prepare(config_of("vlm_rlaif_sft", tmp_path))
