"""The world as multiple choice: exactly one option is true, and the reader builds it."""

import collections
import json
import pathlib
import runpy

import numpy as np
import pytest

from orl_jax.data.items_builder import write_items
from orl_jax.data.prepare import prepare
from orl_jax.data.source import open_split
from orl_jax.data.world.question import VALUES, possible, questions
from orl_jax.data.world.render import position
from orl_jax.data.world.scene import sample_scene
from orl_jax.data.world.scene_labels import scene_to_json
from orl_jax.data.world.shapes_builder import ShapesVideoQa
from orl_jax.data.world.shapes_choice import FILE, TASK_TYPES, choice, false_values, write_video_mme
from orl_jax.run.errors import UserError

DEMO = pathlib.Path(__file__).parents[3] / "configs" / "demo.py"
TIMES = np.linspace(0, 1, 65)


def scene(number):
    return sample_scene(np.random.default_rng([11, number]))


def items(count):
    """Items of the embedded world, from some clips."""
    for number in range(count):
        clip, rng = scene(number), np.random.default_rng(number)
        for place, question in enumerate(questions(clip, rng)):
            answer, *others = question.answers(question.value)
            yield {
                "item_id": f"test/{number:05d}-{place}", "video": f"videos/test/{number:05d}.mp4",
                "question": question.text, "answer": answer, "paraphrases": others,
                "sft_answer": answer, "task_type": question.task_type, "difficulty": 1,
                "scene": scene_to_json(clip),
            }  # fmt: skip


def holds(clip, question, value):
    """Whether a value is true, from the positions of things and not from their names."""
    if question.task_type == "counting":
        shown = [t for t in clip.things if question.subject in (t.shape, "object")]
        return VALUES["counting"].index(value) == len(shown)
    name = question.subject.removesuffix(" object")
    (thing,) = [t for t in clip.things if name in (t.name, t.shape, t.colour)]
    if question.task_type in ("attribute perception", "object recognition"):
        return value in (thing.colour, thing.shape)
    (x, y), seen = position(thing, clip.rows, TIMES), thing.visible(TIMES)
    if question.task_type == "temporal perception":
        change = np.flatnonzero(np.diff(seen))[0] / 64
        return (value == "near the start", value == "halfway", value == "near the end") == (
            change < 0.4, 0.4 < change < 0.6, change > 0.6,
        )  # fmt: skip
    if question.task_type == "spatial perception":
        end = -1 if question.text.endswith("end?") else 0
        sides = {"left": x[end], "right": 1 - x[end], "top": y[end], "bottom": 1 - y[end]}
        return bool(sides[value] < 0.4)
    across, down = np.diff(x[seen]), np.diff(y[seen])
    return {
        "right": across.max() > 0, "left": across.min() < 0,
        "down": down.max() > 0, "up": down.min() < 0,
        "still": not across.any() and not down.any(),
        "bounce": across.max() * across.min() < 0 or down.max() * down.min() < 0,
        "appear": not seen[0], "vanish": not seen[-1],
    }[value]  # fmt: skip


def test_false_values_are_exactly_the_false_ones():
    counts = collections.Counter()
    for number in range(150):
        clip = scene(number)
        for question in (question for some in possible(clip) for question in some):
            assert holds(clip, question, question.value)
            expected = [v for v in VALUES[question.task_type] if not holds(clip, question, v)]
            assert false_values(question, clip) == expected, question
            counts[question.task_type, question.value] += 1
    assert {task for task, _ in counts} == set(TASK_TYPES)
    assert {value for task, value in counts if task == "action recognition"} == set(
        VALUES["action recognition"]
    )


def test_one_option_is_the_reference_and_the_others_are_false():
    lengths = collections.defaultdict(set)
    for item in items(80):
        made = choice(item)
        (question,) = {
            q for some in possible(scene(int(item["item_id"][5:10]))) for q in some
            if q.text == item["question"]
        }  # fmt: skip
        false = false_values(question, scene(int(item["item_id"][5:10])))
        letters = [option[:3] for option in made["options"]]
        assert letters == ["A. ", "B. ", "C. ", "D. "][: len(false) + 1]
        texts = {option[0]: option[3:] for option in made["options"]}
        assert texts.pop(made["answer"]) == item["answer"]
        assert set(texts.values()) <= {question.answers(value)[0] for value in false}
        assert len(set(texts.values())) == min(len(false), 3)
        lengths[item["task_type"]].add(len(letters))
    assert lengths["temporal perception"] == {3} and lengths["spatial perception"] == {3, 4}
    assert all(lengths[name] == {4} for name in list(TASK_TYPES)[:4])


def test_letters_are_balanced_and_depend_only_on_the_id():
    made = [(item, choice(item)) for item in items(120)]
    four = [question["answer"] for _, question in made if len(question["options"]) == 4]
    counts = collections.Counter(four)
    assert len(four) > 400 and set(counts) == set("ABCD")
    assert (
        max(counts.values()) < 1.35 * len(four) / 4 and min(counts.values()) > 0.65 * len(four) / 4
    )
    for value in VALUES["object recognition"]:  # letters are independent of values
        of_value = {q["answer"] for item, q in made if item["answer"].endswith(f" is a {value}.")}
        assert of_value == set("ABCD")
    item = made[0][0]
    other = choice({**item, "item_id": "test/00777-3"})
    assert other["question_id"] == "00777-3" and choice(item) == made[0][1] != other
    with pytest.raises(UserError, match="item test/00000-0 asks 'Why\\?', whose answer is not"):
        choice({**item, "question": "Why?"})
    with pytest.raises(
        UserError, match=r"answer is not 'So\.' in its scene; delete the data folder"
    ):
        choice({**item, "answer": "So."})


def test_the_bytes_are_the_same_whatever_the_order(tmp_path):
    written = []
    for name, some in (("a", list(items(12))), ("b", list(items(12))[::-1])):
        write_items(ShapesVideoQa, tmp_path / name, "world", {"test": some})
        path = write_video_mme(tmp_path / name)
        assert path == tmp_path / name / FILE
        written.append(path.read_bytes())
        assert [p.name for p in path.parent.iterdir()] == ["shapes.json"]
    assert written[0] == written[1]
    videos = json.loads(written[0])
    assert [video["video_id"] for video in videos] == [f"{number:05d}" for number in range(12)]
    ids = [question["question_id"] for question in videos[3]["questions"]]
    assert ids == sorted(ids) and ids[0] == "00003-0"


def settings(data_folder, **source):
    config = runpy.run_path(str(DEMO))["get_config"]("tiny").unlock()
    config.data.folder = str(data_folder)
    config.data.scenes.update(train=2, validation=1, test=4, composition=1, frames=4)
    config.data.workers = 1
    config.source.update(source)
    return config.lock()


def test_the_readers_of_benchmarks_build_it(tmp_path):
    world = prepare(settings(tmp_path / "world"))
    first = (world / FILE).read_bytes()
    (world / FILE).unlink()
    prepare(settings(tmp_path / "world"))  # as with a world built before this file existed
    assert (world / FILE).read_bytes() == first
    source = {
        "name": "video_mme", "folder": str(world / FILE.split("/")[0]),
        "videos": str(world / "videos" / "test"), "missing_videos": "raise",
    }  # fmt: skip
    built = open_split(prepare(settings(tmp_path / "choice", **source)), "test")
    references = {item["item_id"][5:]: item for item in open_split(world, "test")}
    assert {item["item_id"] for item in built} == set(references)
    for item in built:
        reference = references[item["item_id"]]
        assert item["video"] == str(world.resolve() / reference["video"])
        assert len(item["options"]) in (3, 4) and item["answer"] in "ABCD"
        assert item["paraphrases"] == [
            f"{item['answer']}. {reference['answer']}",
            reference["answer"],
        ]
        assert item["task_type"] == TASK_TYPES[reference["task_type"]]
        extra = json.loads(item["extra"])
        assert (extra["duration"], extra["subtitles"]) == ("short", "")
