"""`prepare_data.py --check` finds each kind of fault, and leaves no data set behind."""

import json
import pathlib
import subprocess
import sys

import pytest
from clips import damage
from layouts import activitynet, config_of, videos
from ml_collections import ConfigDict

from orl_jax.data.benchmarks.benchmark_source import BenchmarkSource
from orl_jax.data.benchmarks.check import Findings, check, report
from orl_jax.data.items_builder import write_items
from orl_jax.data.world.shapes_builder import ShapesVideoQa
from orl_jax.data.world.world import SPLITS
from orl_jax.run.errors import UserError

ROOT = pathlib.Path(__file__).parents[3]


def own(folder: pathlib.Path, *rows: dict) -> None:
    folder.mkdir(exist_ok=True)
    full = [{"question": "What?", "answer": "x", **row} for row in rows]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in full))


def checked(config: ConfigDict) -> Findings:
    return check(BenchmarkSource.of(config.source), config.data.folder)


def faults(tmp_path, **settings) -> list[str]:
    return checked(config_of("own", tmp_path, **settings)).faults()


@pytest.fixture
def official(tmp_path):
    folder = tmp_path / "official"
    videos(folder, "a.mp4", "b.mp4")
    return folder


def test_nothing_wrong(tmp_path, official, capsys):
    own(official, {"video": "a"}, {"video": "b", "split": "test", "task_type": "counting"},
        {"video": "b", "split": "test", "answer": ""})  # fmt: skip
    report(checked(config_of("own", tmp_path)))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train", "test"] in lines and ["counting", "0", "1"] in lines
    assert ["questions", "1", "1"] in lines and ["videos", "1", "1"] in lines
    assert ["left", "out,", "without", "an", "answer:", "1", "(test:", "items-3)"] in lines
    assert not (tmp_path / "built").exists()


def test_duplicate_ids(tmp_path, official):
    own(official, {"video": "a", "id": "one"}, {"video": "b", "id": "one"})
    assert faults(tmp_path) == ["1 duplicate ids (train: one)"]


def test_missing_videos(tmp_path, official):
    own(official, {"video": "a"}, *({"video": f"gone{number}"} for number in range(7)))
    (fault,) = faults(tmp_path)
    assert fault.startswith("7 missing videos (") and fault.endswith("gone4.mp4 and 2 more)")
    assert faults(tmp_path, missing_videos="drop") == []


def test_unreadable_videos(tmp_path, official):
    own(official, {"video": "a"}, {"video": "b"}, {"video": "c"})
    damage(official / "a.mp4")
    (official / "c.mkv").write_text("not a video")
    (fault,) = faults(tmp_path)
    assert fault.startswith("2 unreadable videos (") and "a.mp4: cannot be decoded" in fault


def test_videos_in_two_splits(tmp_path, official):
    own(official, {"video": "a"}, {"video": "a", "split": "test"})
    assert faults(tmp_path) == [f"1 videos in both train and test ({official / 'a.mp4'})"]


def test_the_embedded_world(tmp_path):
    item = {
        "item_id": "0", "video": "videos/0.mp4", "question": "a", "answer": "b", "sft_answer": "b",
        "paraphrases": [], "task_type": "counting", "difficulty": 1, "scene": "{}",
    }  # fmt: skip
    config = config_of("shapes", tmp_path)
    built = tmp_path / "built"
    items = {name: [item | {"video": f"videos/{name}.mp4"}] for name in SPLITS}
    write_items(ShapesVideoQa, built, "world", items)
    videos(built / "videos", *(f"{name}.mp4" for name in SPLITS))
    assert checked(config).faults() == []
    (built / "videos" / "test.mp4").unlink()
    assert "test.mp4: is missing" in checked(config).faults()[0]


@pytest.mark.parametrize("complete", [True, False])
def test_the_script(tmp_path, complete):
    """Exit status 0, or 2 with one line about what is wrong; the table in both cases."""
    activitynet(tmp_path / "official")
    if complete:
        videos(tmp_path / "official", "v_a-b_c.mp4")
    command = [
        sys.executable, ROOT / "scripts/prepare_data.py", f"--config={ROOT}/configs/demo.py",
        "--config.source.name=activitynet_qa", f"--config.source.folder={tmp_path / 'official'}",
        f"--config.data.folder={tmp_path / 'built'}", "--check",
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == (0 if complete else 2), ended.stderr
    assert "yes/no" in ended.stdout
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == (0 if complete else 1)
    if errors:
        assert "ActivityNet-QA: 1 missing videos (" in errors[0]


def test_report_raises_all_at_once(tmp_path, official):
    own(official, {"video": "a", "id": "one"}, {"video": "gone", "id": "one"})
    with pytest.raises(UserError, match="your own data: 1 duplicate ids .*; 1 missing videos"):
        report(checked(config_of("own", tmp_path)))
