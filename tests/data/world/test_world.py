"""The embedded world: deterministic, disjoint, answerable from its pixels."""

import collections
import dataclasses
import json

import numpy as np
import pytest

from orl_jax.data.source import open_split
from orl_jax.data.video import ClipFormat, read_frames
from orl_jax.data.world.question import CONFUSIONS, TASK_TYPES, VALUES, questions, taught_value
from orl_jax.data.world.render import RGB, render
from orl_jax.data.world.scene import COLOURS, HELD_OUT_PAIRS, Scene, Thing, sample_scene
from orl_jax.data.world.scene_labels import (
    object_labels,
    patch_labels,
    scene_from_json,
    scene_to_json,
)
from orl_jax.data.world.shapes_builder import build
from orl_jax.data.world.world import SPLITS, World, make_clip, rng_of
from orl_jax.run.errors import UserError

WORLD = World(
    seed=3, train=6, validation=2, test=2, composition=2, frames=8, rate=8, size=32,
    systematic_share=0.7, random_share=0.1,
)  # fmt: skip


def scenes(count, composition=False):
    return [
        sample_scene(np.random.default_rng([7, i]), composition=composition) for i in range(count)
    ]


def pairs(some):
    return {(thing.colour, thing.shape) for scene in some for thing in scene.things}


def thing(behaviour, **changes):
    fixed = {
        "colour": "red", "shape": "circle", "behaviour": behaviour, "lane": 0.5, "place": 0.2,
        "event": 0.0, "moment": "", "radius": 0.15,
    }  # fmt: skip
    return Thing(**{**fixed, **changes})


def test_held_out_pairs_are_only_in_composition_scenes():
    assert not pairs(scenes(300)) & set(HELD_OUT_PAIRS)
    for scene in scenes(50, composition=True):
        assert {(t.colour, t.shape) for t in scene.things} & set(HELD_OUT_PAIRS)


def test_colours_differ_within_a_scene():
    for scene in scenes(200) + scenes(200, composition=True):
        colours = [t.colour for t in scene.things]
        assert len(set(colours)) == len(colours)


@pytest.mark.parametrize(
    ("behaviour", "place", "golden"),
    [
        ("forward", 0.2, [0.16, 0.5, 0.84]),
        ("backward", 0.2, [0.84, 0.5, 0.16]),
        ("bounce", 0.2, [0.16, 0.84, 0.16]),
        ("bounce", 0.8, [0.84, 0.16, 0.84]),
        ("still", 0.2, [0.2, 0.2, 0.2]),
    ],
)
def test_positions_at_start_middle_and_end(behaviour, place, golden):
    time = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(thing(behaviour, place=place).along(time), golden)


def test_events_switch_visibility():
    time = np.array([0.0, 0.49, 0.5, 1.0])
    assert thing("appear", event=0.5).visible(time).tolist() == [False, False, True, True]
    assert thing("vanish", event=0.5).visible(time).tolist() == [True, True, False, False]


def test_answers_are_what_the_pixels_show():
    """A red circle that moves right is red at the left first, and at the right last."""
    scene = Scene((thing("forward"),), rows=True, background=20)
    clip = render(scene, frames=3, size=64)
    assert clip.shape == (3, 64, 64, 3) and clip.dtype == np.uint8
    for frame, x in zip(clip, (0.16, 0.5, 0.84), strict=True):
        assert tuple(frame[32, round(64 * x)]) == RGB["red"]
    asked = {q.task_type: q for q in questions(scene, np.random.default_rng(0))}
    assert asked["action recognition"].value == "right"
    assert asked["action recognition"].answers("right")[0] == "The red circle moves to the right."
    assert asked["object recognition"].answers("circle") == (
        "The red object is a circle.",
        "It is a circle.",
    )
    assert asked["counting"].value == "one"


def test_all_values_occur_and_reference_comes_first():
    seen = collections.defaultdict(set)
    for index, scene in enumerate(scenes(400)):
        for question in questions(scene, np.random.default_rng(index)):
            seen[question.task_type].add(question.value)
            answers = {v: question.answers(v) for v in VALUES[question.task_type]}
            flat = [text for texts in answers.values() for text in texts]
            assert len(set(flat)) == len(flat), "two values with the same answer"
    assert set(seen) == set(TASK_TYPES)
    for name, values in seen.items():
        assert values == set(VALUES[name]) - {"no"}


def test_taught_answers_are_wrong_in_the_stated_shares():
    rng = np.random.default_rng(0)
    scene = Scene((thing("forward"),), rows=True, background=20)
    question = questions(scene, rng)[0]
    assert question.value == "right"
    drawn = collections.Counter(
        taught_value(question, rng, systematic_share=0.75, random_share=0.05) for _ in range(4000)
    )
    # wrong on purpose: 0.95 * 0.75 + 0.05 / 7 = 0.720; right: 0.95 * 0.25 = 0.2375
    assert drawn["left"] / 4000 == pytest.approx(0.720, abs=0.03)
    assert drawn["right"] / 4000 == pytest.approx(0.2375, abs=0.03)


def test_confusions_name_values_and_never_themselves():
    for name, pairs_ in CONFUSIONS.items():
        for value, wrong in pairs_.items():
            assert {value, wrong} <= set(VALUES[name]) and value != wrong


def test_labels_follow_the_scene():
    scene = Scene((thing("forward"),), rows=True, background=20)
    labels = object_labels(scene)
    assert labels.shape == (6, 5)
    assert labels[COLOURS.index("red")].tolist() == [1, 1, 1, 2, 0]  # circle, right, left, right
    assert not labels[1:].any()
    patches = patch_labels(scene, np.array([0.0, 1.0]), side=4)
    assert patches.colour.reshape(2, 4, 4)[0, 1, 0] == 1
    assert patches.colour.reshape(2, 4, 4)[0, 1, 3] == 0
    assert patches.colour.reshape(2, 4, 4)[1, 1, 3] == 1
    np.testing.assert_allclose(patches.centre.reshape(2, 4, 4, 2)[1, 1, 3], (0.84, 0.5))


def test_scene_survives_json():
    for scene in scenes(20):
        assert scene_from_json(scene_to_json(scene)) == scene


def test_splits_have_their_own_random_streams():
    first = {split: rng_of(0, split, 0).random() for split in SPLITS}
    assert len(set(first.values())) == len(SPLITS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("world"), WORLD, workers=1)


def test_build_is_deterministic_and_disjoint(folder, tmp_path):
    digests = collections.defaultdict(set)
    for split in SPLITS:
        for path in (folder / "videos" / split).iterdir():
            digests[split].add(read_frames(path, ClipFormat(8, 32)).tobytes())
    everything = [digest for split in SPLITS for digest in digests[split]]
    assert len(set(everything)) == len(everything) == 12
    again = make_clip(WORLD, "test", str(tmp_path), 1)
    stored = {item["item_id"]: item for item in open_split(folder, "test")}
    for item in again:
        assert stored[item["item_id"]] == item
    same = read_frames(tmp_path / "videos/test/00001.mp4", ClipFormat(8, 32))
    assert same.tobytes() in digests["test"]


def test_decoded_video_is_close_to_the_drawing(folder):
    item = open_split(folder, "train")[0]
    drawn = render(scene_from_json(item["scene"]), WORLD.frames, WORLD.size)
    decoded = read_frames(folder / item["video"], ClipFormat(WORLD.frames, WORLD.size))
    assert np.abs(decoded.astype(int) - drawn.astype(int)).mean() < 6


def test_build_finds_a_data_set_and_refuses_other_settings(folder):
    before = (folder / "world.json").stat().st_mtime_ns
    build(folder, WORLD)
    assert (folder / "world.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="seed=3, the config says 4"):
        build(folder, dataclasses.replace(WORLD, seed=4))
    assert json.loads((folder / "world.json").read_text())["seed"] == 3
