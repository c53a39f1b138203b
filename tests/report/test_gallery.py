import base64
import io
import json

import pytest
from example_run import TASKS, write_lines
from PIL import Image

from orl_jax.data.video import ClipFormat
from orl_jax.report.frames import LARGEST, Frames
from orl_jax.report.gallery import gallery
from orl_jax.report.record import read_record


def _frames(example):
    return Frames(example.data_folder, ClipFormat(8, 32))


def _chapters(example):
    return gallery(read_record(example.workdir), _frames(example))


def test_a_chapter_for_each_task_type(example) -> None:
    assert [chapter.task_type for chapter in _chapters(example)] == sorted(TASKS)


def test_counts_are_those_of_the_predictions(example) -> None:
    record = read_record(example.workdir)
    sft, rl = record.predictions["sft_test"], record.predictions["rl_test"]
    for chapter in gallery(record, _frames(example)):
        own = [i for i, row in sft.items() if row["task_type"] == chapter.task_type]
        assert sum(chapter.counts.values()) == len(own) == 12
        fixed = sum(rl[i]["correct"] and not sft[i]["correct"] for i in own)
        broken = sum(sft[i]["correct"] and not rl[i]["correct"] for i in own)
        assert (chapter.counts["fixed"], chapter.counts["broken"]) == (fixed, broken)


def test_examples_are_of_the_kind_that_they_are_shown_as(example) -> None:
    wanted = {"fixed": (False, True), "still wrong": (False, False), "broken": (True, False)}
    shown = 0
    for chapter in _chapters(example):
        for kind, items in chapter.items.items():
            for item in items:
                correct = {model: right for model, _, right in item.answers}
                assert (correct["sft"], correct["rl"]) == wanted[kind]
                shown += 1
    assert shown > 12


def test_before_and_after_answer_the_same_prompt_far_apart(example) -> None:
    for chapter in _chapters(example):
        assert chapter.same_prompt
        # Prompts come again every fourth step, so in 12 steps 8 lie between at the most.
        assert chapter.after.step - chapter.before.step == 8


def test_responses_are_in_the_oracles_order_and_bars_within_the_axis(example) -> None:
    for chapter in _chapters(example):
        for group in (chapter.before, chapter.after):
            ranks = [response.oracle_rank for response in group.responses]
            assert ranks == sorted(ranks) and len(ranks) == 5
            for response in group.responses:
                assert abs(response.bar) <= 1
                assert (response.bar > 0) == (response.advantage > 0)
                assert response.is_reference == (response.text == group.reference)


def test_without_repeated_prompts_the_first_and_the_last_group_are_shown(new_example) -> None:
    example = new_example(steps=3)
    rollouts = read_record(example.workdir).rollouts
    spans = []
    for chapter in _chapters(example):
        signals = [
            step
            for step, groups in rollouts.items()
            for group in groups
            if group["task_type"] == chapter.task_type and len(set(group["oracle_ranks"])) > 1
        ]
        assert not chapter.same_prompt
        assert (chapter.before.step, chapter.after.step) == (min(signals), max(signals))
        spans.append(len(set(signals)))
    assert max(spans) == 3, "a weaker example would not tell the last from the second"


def test_a_group_without_a_signal_never_comes_first(new_example) -> None:
    example = new_example(steps=1)
    path = example.workdir / "rollouts/1.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_lines(path, [row | {"oracle_ranks": [2.0] * 5} for row in rows])
    assert all(chapter.before is None for chapter in _chapters(example))


def test_frames_are_read_once_and_scaled(example) -> None:
    frames = _frames(example)
    clip = frames("videos/test/00000.mp4")
    assert len(clip) == 8 and all(f.startswith("data:image/png;base64,") for f in clip)
    assert frames("videos/test/00000.mp4") is clip
    large = Frames(example.data_folder, ClipFormat(2, 10 * LARGEST))
    for frame in large("videos/test/00000.mp4"):
        kind, content = frame.split(";base64,")
        assert kind == "data:image/jpeg"
        assert Image.open(io.BytesIO(base64.b64decode(content))).size == (LARGEST, LARGEST)


@pytest.mark.parametrize("content", [None, b"", b"not a video"])
def test_a_broken_clip_has_no_frames(tmp_path, content) -> None:
    if content is not None:
        (tmp_path / "clip.mp4").write_bytes(content)
    assert list(Frames(tmp_path, ClipFormat(8, 32))("clip.mp4")) == []
