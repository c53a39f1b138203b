"""Descriptions: true, within their lengths, wrong where SFT is taught wrong; read back as facts."""

import collections
import dataclasses
import hashlib
import json
import pathlib
import runpy

import numpy as np
import pytest

from orl_jax.data.prepare import _descriptions, prepare
from orl_jax.data.source import open_split
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.data.world.account import Account, Sight, account_of, taught_account
from orl_jax.data.world.description import QUESTION, TASK_TYPE, description
from orl_jax.data.world.facts import Tally, compare, statements, tally
from orl_jax.data.world.question import CONFUSIONS, TASK_TYPES
from orl_jax.data.world.scene import HELD_OUT_PAIRS, Scene, Thing, sample_scene
from orl_jax.data.world.shapes_builder import build
from orl_jax.data.world.wording import SENTENCES, TOKENS, length, tell
from orl_jax.data.world.world import LongWorld, World, make_clip
from orl_jax.run.errors import UserError

CONFIGS = pathlib.Path(__file__).parents[3] / "configs"
SIZES = {"seed": 3, "train": 4, "validation": 1, "test": 1, "composition": 1, "frames": 4,
         "rate": 8, "size": 32, "systematic_share": 0.5, "random_share": 0.1}  # fmt: skip
LONG = LongWorld(**SIZES, cut_share=0.2, short_share=0.5, tellings=2)
# A red circle moves right in the upper row; a blue square appears late at the right; a white cross
# vanishes early at the left.
SCENE = Scene(
    (
        Thing("red", "circle", "forward", 0.2, 0.2, 0.0, "", 0.15),
        Thing("blue", "square", "appear", 0.5, 0.8, 0.77, "near the end", 0.15),
        Thing("white", "cross", "vanish", 0.8, 0.2, 0.2, "near the start", 0.15),
    ),
    rows=True,
    background=20,
)
FACTS = {
    ("", "count"): "three",
    ("red", "shape"): "circle", ("red", "place"): "left", ("red", "action"): "right",
    ("blue", "shape"): "square", ("blue", "place"): "right", ("blue", "action"): "appear",
    ("blue", "moment"): "near the end",
    ("white", "shape"): "cross", ("white", "place"): "left", ("white", "action"): "vanish",
    ("white", "moment"): "near the start",
    ("blue white", "order"): "white",
}  # fmt: skip


def stories(count):
    for index in range(count):
        rng = np.random.default_rng([7, index])
        yield sample_scene(rng, composition=index % 4 == 0, story=True), rng


def test_the_facts_of_a_scene_by_hand():
    assert account_of(SCENE).facts() == FACTS


def test_a_description_is_read_by_hand():
    text = (
        "The video shows three objects. On the left, a red circle goes right. There is a blue "
        "square at the right side. Late in the clip, it comes into view. The white cross at the "
        "left side goes out of view near the start. The blue one appears after the white one "
        "vanishes."
    )
    assert dict(statements(text)) == FACTS
    assert compare(text, text) == (13, 0, 0, 2)  # both actions are stated again in the last


def test_a_chain_orders_all_its_pairs():
    def order(text):
        return [(key[0], value) for key, value in statements(text) if key[1] == "order"]

    three = [("blue red", "red"), ("green red", "red"), ("blue green", "blue")]
    first = "First the red one appears, then the blue one vanishes and finally the green one goes."
    assert order(first) == three
    assert order("The red one appears before the blue one, and later the green one.") == three
    assert order("A red circle and a blue square move up.") == []


def test_tallies_by_hand():
    truth = {("red", "action"): "up", ("red", "shape"): "circle"}
    up, down = (("red", "action"), "up"), (("red", "action"), "down")
    assert tally([up, up, down], truth) == (1, 1, 1, 1)
    assert tally([down, up], truth) == (0, 1, 2, 0)  # a second try earns nothing
    assert tally([], truth) == (0, 0, 2, 0)
    assert Tally(3, 1, 1, 5).score == 0.75  # precision 3 / 4 and recall 3 / 4
    assert Tally(2, 0, 4, 0).score == 0.5  # precision 1 and recall 1 / 3: 2 / (1 + 3)
    assert Tally(0, 0, 0, 0).score == 0.0


def test_every_wording_states_exactly_the_facts_within_the_limits():
    for scene, rng in stories(150):
        account = account_of(scene)
        wrong = taught_account(account, rng, systematic_share=0.5, random_share=0.2)
        for told in (account, account, wrong):
            said = tell(told, rng)
            assert set(statements(" ".join(said))) == set(told.facts().items())
            assert SENTENCES[0] <= len(said) <= SENTENCES[1]
            assert TOKENS[0] <= length(" ".join(said)) <= TOKENS[1]


def test_the_tokenizer_knows_all_words_and_counts_the_same_tokens():
    tokenizer = build_word_tokenizer(_descriptions())
    for scene, rng in stories(100):
        item = description(scene, rng, 0.5, 0.2, 0.0)
        for text in (item["question"], item["answer"], item["sft_answer"]):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.unk_token_id not in ids and len(ids) == length(text)
            assert tokenizer.decode(ids) == text


def test_events_of_a_story_have_different_moments():
    events = collections.Counter()
    for index, (scene, _) in enumerate(stories(200)):
        held_out = {(thing.colour, thing.shape) for thing in scene.things} & set(HELD_OUT_PAIRS)
        assert bool(held_out) == (index % 4 == 0)  # the stories of composition splits
        moments = [thing.moment for thing in scene.things if thing.moment]
        assert len(set(moments)) == len(moments)
        assert len({thing.colour for thing in scene.things}) == len(scene.things)
        events[len(moments)] += 1
    assert min(events[count] for count in (0, 1, 2, 3)) > 5


def test_taught_facts_are_wrong_in_the_stated_shares():
    rng = np.random.default_rng(0)
    account = Account("three", (Sight("red", "circle", "left", "right", "near the end"),), ())
    shares = {"systematic_share": 0.75, "random_share": 0.05}
    drawn = [taught_account(account, rng, **shares) for _ in range(3000)]
    names = ("attribute perception", "object recognition", "spatial perception",
             "action recognition", "temporal perception")  # fmt: skip
    fields = ("colour", "shape", "place", "action", "moment")
    for name, field in zip(names, fields, strict=True):
        wrong = CONFUSIONS[name][getattr(account.sights[0], field)]
        share = np.mean([getattr(taught.sights[0], field) == wrong for taught in drawn])
        assert share == pytest.approx(0.95 * 0.75, abs=0.04), field
    two = np.mean([taught.count == "two" for taught in drawn])
    assert two == pytest.approx(0.95 * 0.75 + 0.05 / 3, abs=0.04)


def test_taught_colours_stay_unique_and_events_change_places_at_random():
    sights = tuple(
        Sight(colour, "circle", "left", "appear", "halfway") for colour in ("red", "green", "blue")
    )
    rng, swapped = np.random.default_rng(1), 0
    for _ in range(1000):
        taught = taught_account(
            Account("three", sights, (0, 1, 2)), rng, systematic_share=1.0, random_share=0.2
        )
        assert len({sight.colour for sight in taught.sights}) == 3
        swapped += taught.order != (0, 1, 2)
    assert swapped / 1000 == pytest.approx(0.2, abs=0.04)


def test_answers_for_sft_are_cut_short_in_the_stated_share():
    whole = [description(scene, rng, 0.0, 0.0, 0.0) for scene, rng in stories(200)]
    for item in whole:
        assert compare(item["sft_answer"], item["answer"]).score == 1.0
        assert {compare(text, item["answer"]).score for text in item["paraphrases"]} == {1.0}
    cut = [description(scene, rng, 0.0, 0.0, 0.4) for scene, rng in stories(800)]
    tallies = [compare(item["sft_answer"], item["answer"]) for item in cut]
    assert all(each.wrong == 0 and each.right for each in tallies)
    # The last sentence may state nothing new: an order of two events always does.
    assert np.mean([each.missing > 0 for each in tallies]) == pytest.approx(0.4, abs=0.05)


def test_the_long_world_is_deterministic_and_may_ask_short_questions(tmp_path):
    folder = build(tmp_path / "long", LONG, workers=1)
    stored = {item["item_id"]: item for item in open_split(folder, "train")}
    again = [item for index in range(4) for item in make_clip(LONG, "train", tmp_path, index)]
    assert {item["item_id"]: item for item in again} == stored
    kinds = collections.defaultdict(list)
    for item in again:
        kinds[item["video"]].append(item["task_type"])
    assert all(types[:2] == [TASK_TYPE] * 2 for types in kinds.values())
    assert {len(types) > 2 for types in kinds.values()} == {False, True}
    assert {name for types in kinds.values() for name in types[2:]} <= set(TASK_TYPES)
    assert again[0]["question"] == QUESTION and again[0]["answer"] != again[1]["answer"]
    assert compare(again[0]["answer"], again[1]["answer"]).score == 1.0
    assert [item["task_type"] for item in open_split(folder, "test")].count(TASK_TYPE) == 1
    with pytest.raises(UserError, match=r"cut_share=0.2, the config says None; delete the folder"):
        build(folder, World(**SIZES))
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "world.json").write_text(json.dumps(SIZES))
    with pytest.raises(UserError, match=r"cut_share=None, the config says 0.2"):
        build(tmp_path / "short", LONG)


@pytest.mark.parametrize("name", ["cut_share", "short_share"])
@pytest.mark.parametrize("value", [-0.1, 1.5, True, "half"])
def test_shares_are_shares(name, value):
    with pytest.raises(UserError, match=f"data.descriptions.{name} is {value!r}; it must be"):
        dataclasses.replace(LONG, **{name: value})


def test_a_clip_is_told_at_least_once():
    with pytest.raises(UserError, match=r"descriptions\.tellings is 0; it must be at least 1"):
        dataclasses.replace(LONG, tellings=0)


def test_the_demos_config_refuses_descriptions(tmp_path):
    config = runpy.run_path(str(CONFIGS / "demo.py"))["get_config"]("tiny").unlock()
    config.source.name, config.data.folder = "describe", str(tmp_path / "data")
    with pytest.raises(UserError, match=r"use --config=configs/describe\.py"):
        prepare(config.lock())


def test_the_short_world_is_as_it_was(tmp_path):
    """Published figures were measured on it: its scenes, questions and answers keep their bytes."""
    world = World(**SIZES)
    made = [item for index in range(4) for item in make_clip(world, "test", tmp_path, index)]
    assert hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16] == "c61e5acfe9022699"
