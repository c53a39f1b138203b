"""Evaluation: the same answers in any batch size, and wherever it was stopped."""

import dataclasses
import json
import pathlib
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import tiny_config

from orl_jax.data.prepare import prepare
from orl_jax.data.source import open_split
from orl_jax.data.video import ClipFormat, read_frames
from orl_jax.evaluation import evaluate as module
from orl_jax.evaluation import evaluator as evaluators
from orl_jax.evaluation.answered import Answered
from orl_jax.evaluation.evaluate import evaluate, trained_on
from orl_jax.evaluation.evaluator import Evaluator
from orl_jax.evaluation.prediction import options_of
from orl_jax.evaluation.questions import Questions
from orl_jax.evaluation.scoring.protocols import Protocol, score
from orl_jax.evaluation.settings import EvaluationSettings
from orl_jax.evaluation.shown import Shown
from orl_jax.models.assembly import banned_tokens, restore, stored_config
from orl_jax.models.sequences import Prompt
from orl_jax.models.vlm import VLM
from orl_jax.ops.log_probs import masked_logits
from orl_jax.run.errors import UserError


@pytest.fixture(scope="module")
def sft(run):
    """(config, checkpoint, assembly, params, items) of the tiny run after SFT."""
    config, workdir = run
    checkpoint = f"{workdir}/checkpoints/sft"
    settings = stored_config(checkpoint).unlock()
    settings.data.folder = config.data.folder
    items = [dict(item) for item in open_split(config.data.folder, "test")]
    return settings, checkpoint, *restore(settings, checkpoint), items


def asks(sft, items, params=None, by_length=False, answered=None, **settings):
    config, _, assembly, restored, _ = sft
    changed = config.copy_and_resolve_references().unlock()
    changed.evaluation.update(settings)
    evaluator = Evaluator(EvaluationSettings.of(changed), assembly)
    read = evaluator.read(items)
    return evaluator.predict(params or restored, read, by_length=by_length, answered=answered)


def with_options(items):
    """Multiple-choice items: four sentences, the right one at varying positions."""
    found = []
    for number, item in enumerate(items):
        wrong = ["It is red.", "It happens halfway.", "There are two circles."]
        wrong.insert(number % 4, item["answer"])
        options = [f"{letter}. {text}" for letter, text in zip("ABCD", wrong, strict=True)]
        found.append(item | {"options": options, "answer": "ABCD"[number % 4]})
    return found


def test_answers_do_not_depend_on_the_batch_nor_on_the_padding(sft):
    items = sft[-1][:11]
    one_by_one = asks(sft, items, batch_size=1)
    assert one_by_one == asks(sft, items, batch_size=8)
    assert one_by_one == asks(sft, items, batch_size=4, by_length=True)
    assert [p.item_id for p in one_by_one] == [item["item_id"] for item in items]
    assert len({text for p in one_by_one for text in p.samples}) > 1
    alone = asks(sft, items[5:6], batch_size=8)
    assert alone == one_by_one[5:6]
    twins = [items[0] | {"item_id": str(number)} for number in range(8)]
    assert len({tuple(p.samples) for p in asks(sft, twins, batch_size=8)}) > 1  # its own noise


def test_questions_without_samples(sft):
    (found,) = asks(sft, sft[-1][:1], samples=0)
    assert found.samples == [] and found.samples_correct is None


def log_prob_by_prefill(sft, item, ids):
    """An independent computation: a prefill for every token, without a cache."""
    config, _, assembly, params, _ = sft
    apply, data = partial(assembly.model.apply, {"params": params}), config.data
    clip = read_frames(f"{data.folder}/{item['video']}", ClipFormat.of(data))
    prompt, mask = assembly.encoder.encode_prompt(item["question"])
    total, length = 0.0, len(prompt) + len(ids)

    @jax.jit
    def next_token(before):
        visual = apply(jnp.asarray(clip)[None], method=VLM.see)
        hidden, _ = apply(visual, before, method=VLM.prefill)
        logits = hidden @ apply(method=VLM.vocabulary_kernel)
        return jax.nn.log_softmax(masked_logits(logits, 1.0, banned_tokens(assembly)))[0]

    for count, token in enumerate(ids):
        before = np.asarray([*prompt[mask], *ids[:count]], np.int32)
        padded = np.pad(before, (length - len(before), 0))
        read = Prompt(padded[None], np.arange(length)[None] >= length - len(before))
        total += float(next_token(read)[token])
    return total


def test_weighed_texts_have_their_probability_token_by_token(sft):
    (item,) = with_options(sft[-1][:1])
    (found,) = asks(sft, [item], choice="text_likelihood")
    encoder = sft[2].encoder
    for option, value in list(zip(item["options"], found.option_log_probs, strict=True))[:2]:
        ids, mask = encoder.encode_response(option[3:])
        assert value == pytest.approx(log_prob_by_prefill(sft, item, ids[mask]), abs=1e-4)


def test_letters_that_the_tokenizer_does_not_know_are_not_weighed(sft):
    items = with_options(sft[-1][:2])
    with pytest.raises(UserError, match="can never say: the tokenizer makes it '<unk>'"):
        asks(sft, items, choice="letter_likelihood", prompt_tokens=120)


def test_options_are_weighed_in_any_batch(sft):
    items = with_options(sft[-1][:9])
    settings = {"choice": "text_likelihood", "prompt_tokens": 120}
    found = asks(sft, items, batch_size=4, **settings)
    assert all(p.response in "ABCD" and len(p.option_log_probs) == 4 for p in found)
    assert [p.correct for p in found] == [
        p.response == item["answer"] for p, item in zip(found, items, strict=True)
    ]
    assert all(p.options == options_of(i) for p, i in zip(found, items, strict=True))
    for one, other in zip(found, asks(sft, items, batch_size=1, **settings), strict=True):
        assert one.option_log_probs == pytest.approx(other.option_log_probs, abs=1e-4)


def test_open_questions_cannot_be_weighed(sft):
    with pytest.raises(UserError, match="weighs 2 to 4 options"):
        asks(sft, sft[-1][:2], choice="letter_likelihood")


def test_a_long_prompt_is_refused_before_anything_is_answered(sft, monkeypatch):
    monkeypatch.setattr(Evaluator, "_answer", lambda *_: pytest.fail("answered"))
    with pytest.raises(UserError, match=r"config\.evaluation\.prompt_tokens is"):
        asks(sft, [*sft[-1][:3], sft[-1][3] | {"question": "What " * 99}])


class Stopped(Exception):
    pass


@pytest.fixture
def stopping(monkeypatch):
    """Counts answers; raises after as many as `stopping.after`, like a kill between two batches."""
    add = Answered.add

    class Counter:
        after = 10**9
        asked: list[str] = []

        def add(self, predictions):
            add(self, predictions)
            Counter.asked = [*Counter.asked, *(p.item_id for p in predictions)]
            if len(Counter.asked) >= Counter.after:
                raise Stopped

    monkeypatch.setattr(Answered, "add", Counter.add)
    return Counter


def test_stopped_twice_it_resumes_and_asks_nothing_twice(sft, tmp_path, stopping):
    config, checkpoint, *_ = sft
    config = config.copy_and_resolve_references().unlock()
    config.evaluation.batch_size = 4
    whole = evaluate(config, checkpoint, workdir=tmp_path / "whole", progress=False)
    ids, stopping.asked = stopping.asked, []
    for after in (5, 14):
        stopping.after = after
        with pytest.raises(Stopped):
            evaluate(config, checkpoint, workdir=tmp_path / "parts", progress=False)
    stopping.after = 10**9
    parts = evaluate(config, checkpoint, workdir=tmp_path / "parts", progress=False)
    assert stopping.asked == ids and len(set(ids)) == len(ids) > 14
    assert without_times(parts) == without_times(whole)
    for name in ("sft_test", "sft_composition"):
        files = [tmp_path / run / "predictions" / f"{name}.jsonl" for run in ("whole", "parts")]
        assert files[0].read_text() == files[1].read_text()
    again = evaluate(config, checkpoint, workdir=tmp_path / "parts", progress=False)
    assert stopping.asked == ids and again["items_per_second"] == 0


def without_times(results):
    drop = ("seconds", "items_per_second")
    return {
        name: {key: value for key, value in split.items() if key not in drop}
        for name, split in results["splits"].items()
    }


def test_other_settings_ask_again(sft, tmp_path, stopping):
    config, checkpoint, *_ = sft
    config = config.copy_and_resolve_references().unlock()
    for samples, asked in ((1, True), (1, False), (0, True)):
        stopping.asked = []
        config.evaluation.samples = samples
        evaluate(config, checkpoint, splits=["test"], workdir=tmp_path, progress=False)
        assert bool(stopping.asked) is asked


def test_a_long_prompt_loses_nothing_of_an_earlier_evaluation(sft, tmp_path):
    config, checkpoint, *_ = sft
    config = config.copy_and_resolve_references().unlock()
    config.evaluation.max_items = 3
    evaluate(config, checkpoint, splits=["test"], workdir=tmp_path, progress=False)
    before = {path: path.read_text() for path in tmp_path.rglob("*.json*")}
    config.evaluation.prompt_tokens = 20  # too short for the video
    with pytest.raises(UserError, match=r"config\.evaluation\.prompt_tokens is 20"):
        evaluate(config, checkpoint, splits=["test"], workdir=tmp_path, progress=False)
    assert {path: path.read_text() for path in tmp_path.rglob("*.json*")} == before


def test_predictions_are_written_once_all_splits_are_answered(sft, tmp_path, stopping):
    """So they are never from another checkpoint than the results."""
    config, checkpoint, *_ = sft
    config = config.copy_and_resolve_references().unlock()
    config.evaluation.max_items = 3
    stopping.after = 4
    with pytest.raises(Stopped):
        evaluate(
            config, checkpoint, splits=["validation", "test"], workdir=tmp_path, progress=False
        )
    assert not (tmp_path / "predictions").exists()
    stopping.after = 10**9
    evaluate(config, checkpoint, splits=["validation", "test"], workdir=tmp_path, progress=False)
    assert len(list((tmp_path / "predictions").iterdir())) == 2


@pytest.mark.parametrize("stage", ["reward", "oracle"])
def test_models_that_score_are_refused(sft, tmp_path, stage):
    shutil.copytree(sft[1], tmp_path / "checkpoints" / stage)
    with pytest.raises(UserError, match="scores answers and cannot answer; name a checkpoint"):
        evaluate(sft[0], tmp_path / "checkpoints" / stage)


def test_a_subset_is_asked_and_a_larger_one_continues_it(sft, tmp_path, stopping):
    config, checkpoint, *_ = sft
    config = config.copy_and_resolve_references().unlock()
    config.evaluation.update(max_items=6, stratify="task_type")
    first = evaluate(config, checkpoint, splits=["test"], workdir=tmp_path, progress=False)
    assert first["n"] == 6 == len(stopping.asked)
    config.evaluation.max_items = 9
    evaluate(config, checkpoint, splits=["test"], workdir=tmp_path, progress=False)
    assert len(stopping.asked) == 9


def test_unreadable_videos_are_counted_and_left_out(sft, tmp_path, monkeypatch):
    config, checkpoint, *_, items = sft
    lost = items[0]["video"]
    spoilt = [i | {"video": "videos/none.mp4"} if i["video"] == lost else i for i in items]
    monkeypatch.setattr(module, "_asked", lambda *_: ("own", spoilt))
    found = evaluate(config, checkpoint, splits=["test"], workdir=tmp_path, progress=False)
    gone = [item["item_id"] for item in items if item["video"] == lost]
    assert found["skipped"] == gone and found["n"] == len(items) - len(gone)
    json.dumps(found)
    none = [item for item in spoilt if item["item_id"] in gone]
    monkeypatch.setattr(module, "_asked", lambda *_: ("own", none))
    with pytest.raises(UserError, match=f"none of {len(gone)} items has a readable video"):
        evaluate(config, checkpoint, splits=["test"], progress=False)


def test_other_splits_of_a_data_set_are_named(sft, monkeypatch):
    config, checkpoint, *_ = sft
    monkeypatch.setattr(module.source, "splits", lambda _: ["other", "train"])
    with pytest.raises(UserError, match="--split: other, train"):
        evaluate(config, checkpoint)
    monkeypatch.setattr(module.source, "splits", lambda _: ["train", "validation"])
    assert module._usual(config.data.folder) == ("validation",)


def test_validation_is_the_same_as_a_prediction(sft):
    config, _, assembly, params, _ = sft
    evaluator = Evaluator(EvaluationSettings.of(config), assembly)
    items = [dict(i) for i in open_split(config.data.folder, "validation")]
    items = items[: config.evaluation.validation_items]
    found = evaluator.predict(params, evaluator.read(items))
    metrics = evaluator.validation(params)
    assert metrics["validation/accuracy"] == np.mean([p.correct for p in found])
    assert dataclasses.asdict(found[0])["item_id"] == items[0]["item_id"]


def test_data_without_a_validation_split_are_not_validated(sft, monkeypatch, caplog):
    config, _, assembly, params, _ = sft
    evaluator = Evaluator(EvaluationSettings.of(config), assembly)
    assert evaluator.validating(lambda _: params) is not None
    monkeypatch.setattr(evaluators, "splits", lambda _: ["test", "train"])
    assert evaluator.validating(lambda _: params) is None
    assert 'has no split "validation", so nothing is validated' in caplog.text


def test_video_mme_with_subtitles_from_its_files_to_its_form(sft, tmp_path):
    """Official files are built, asked with the subtitles at the frames, written and scored."""
    config, checkpoint, _, _, items = sft
    world, folder = pathlib.Path(config.data.folder), tmp_path / "built"
    files = tmp_path / "files"
    shutil.copytree(world / "video_mme", files)
    times = "00:00:00,000 --> 00:00:09,000"
    (files / "00000.srt").write_text(f"1\n{times}\nThe circle moves.\n")
    config = config.copy_and_resolve_references().unlock()
    source = {
        "name": "shapes_choice",
        "folder": str(files),
        "videos": str(world / "videos" / "test"),
    }
    config.source.update(source)
    config.data.folder = str(folder)
    prepare(config)
    config.evaluation.update(subtitles=True, prompt_tokens=160, max_items=9, samples=0)
    shown = Shown(str(folder), config.data.frames, sft[2].encoder.resized(160, 12))
    asked = Questions(open_split(folder, "test"), "letter", shown)
    texts = {item["item_id"]: item["subtitles"] for item in asked}
    assert set(texts.values()) == {"", "The circle moves."}
    found = evaluate(config, checkpoint, workdir=tmp_path / "out", progress=False)
    assert (found["dataset"], found["n"]) == ("shapes_choice", 9)
    official = json.loads((tmp_path / "out" / "official" / "sft_test.json").read_text())
    assert sum(len(video["questions"]) for video in official) == 9
    path = tmp_path / "out" / found["predictions"]
    summary = score(path, Protocol("video_mme")).summary()
    assert summary["all"]["strict_of_all"]["mean"] == pytest.approx(found["accuracy"])


def test_the_data_are_by_default_those_that_it_was_trained_on(run, sft, monkeypatch):
    config, checkpoint = tiny_config("data/another"), sft[1]
    assert trained_on(config, checkpoint).data.folder == run[0].data.folder
    assert config.data.folder == "data/another"
    monkeypatch.setattr(module, "stored_config", lambda _: tiny_config("data/moved"))
    with pytest.raises(UserError, match="data in data/moved, which is not there; name a folder"):
        trained_on(config, checkpoint)
