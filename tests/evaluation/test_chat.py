"""Chat: one encoding, one compilation, errors in one line, the script."""

import functools
import json
import logging
import pathlib
import runpy
import subprocess
import sys

import jax
import numpy as np
import pytest
from tiny_model import random_params

import scripts
from orl_jax.data.text.tokenizer import build_word_tokenizer
from orl_jax.data.video import ClipFormat
from orl_jax.data.world.render import write_mp4
from orl_jax.evaluation.chat import PROMPT_LIMIT, Chat, converse, read_clip
from orl_jax.models.assembly import assemble, restore, stored_config
from orl_jax.models.sequences import Prompt
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.config import to_json
from orl_jax.run.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
QUESTION, OTHER = "What does the red circle do?", "Where is it?"
TEXTS = (QUESTION, OTHER, "The red circle moves up.", "It stays at the left.")
MAX_TOKENS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of random parameters, its tokenizer, and two clips."""
    folder = tmp_path_factory.mktemp("chat")
    build_word_tokenizer(TEXTS).save_pretrained(folder / "data" / "tokenizer")
    for name, frames, level in (("first", 8, 0), ("second", 2, 255)):
        write_mp4(folder / f"{name}.mp4", np.full((frames, 32, 64, 3), level, np.uint8), rate=8)
    config = runpy.run_path(str(ROOT / "configs" / "demo.py"))["get_config"]("tiny").unlock()
    config.data.folder = str(folder / "data")
    config.rl.max_response_tokens = MAX_TOKENS
    model, encoder, *_ = assemble(config, lora=True)
    prompt = Prompt(*(array[None] for array in encoder.encode_prompt("")))
    frames = np.zeros((1, config.data.frames, 32, 32, 3), np.uint8)
    params = random_params(model, frames, prompt, seed=15)  # answers that differ
    with Checkpoints(str(folder / "run"), "rl") as checkpoints:
        checkpoints.save(1, {"trained": params}, {"config": json.loads(to_json(config))})
    return folder


@pytest.fixture(scope="module")
def shared(folder):
    path = folder / "run" / "checkpoints" / "rl"
    return Chat(*restore(stored_config(path), path), max_tokens=MAX_TOKENS)


@pytest.fixture(scope="module")
def clips(folder):
    """Reads a clip of the folder by its path."""
    clip_format = ClipFormat.of(stored_config(folder / "run" / "checkpoints" / "rl").data)
    return functools.partial(read_clip, clip_format=clip_format)


@pytest.fixture
def chat(shared, clips, folder, caplog):
    """The shared chat, with its first video; its messages are in `caplog`."""
    shared.watch(clips(str(folder / "first.mp4")))
    caplog.set_level(logging.INFO)
    return shared


def said(chat, question, capsys):
    """What the chat prints as its answer."""
    chat.say(question)
    return capsys.readouterr().out


def test_says_what_it_read_then_answers(chat, clips, folder, caplog, capsys):
    chat.watch(clips(str(folder / "second.mp4")))
    first = said(chat, QUESTION, capsys)
    assert caplog.messages[:2] == [
        f"{folder / 'second.mp4'}: 2 of 2 frames read, 6 visual tokens",
        # <s>, two sentences, "USER", ":", a space, six of the video, a line break, seven of the
        # question, "ASSISTANT", ":"
        "22 prompt tokens",
    ]
    (answer,) = chat.sample(QUESTION, 1)
    assert first == answer.text + "\n"
    assert answer.text
    broken_off = f"broken off after {MAX_TOKENS} tokens (--max_tokens)" in caplog.messages
    assert broken_off == answer.truncated


def test_another_question_neither_encodes_nor_compiles(chat, monkeypatch, capsys):
    first = said(chat, QUESTION, capsys)
    compiled = []
    monkeypatch.setattr(chat, "_see", None)  # the video is already encoded

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        other = said(chat, OTHER, capsys)
        again = said(chat, QUESTION, capsys)
        assert not compiled
        jax.jit(lambda x: x + 12.5)(np.zeros(3))
        assert compiled  # the listener does hear
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert again == first
    assert other != first


def test_another_video_gives_another_answer(chat, clips, folder, capsys):
    first = said(chat, OTHER, capsys)
    chat.watch(clips(str(folder / "second.mp4")))
    assert said(chat, OTHER, capsys) != first


def test_a_long_question_gets_a_longer_prompt(chat, caplog, capsys, monkeypatch):
    long = " ".join([QUESTION] * 6)
    text = said(chat, long, capsys)
    assert "57 prompt tokens; the checkpoint was trained with 32 at most" in caplog.messages
    with pytest.raises(UserError, match=f"config.data.prompt_tokens is {PROMPT_LIMIT}"):
        chat.say(QUESTION * 600)
    monkeypatch.setattr(chat.encoder, "prompt_length", 96)  # as if trained with that many
    assert said(chat, long, capsys) == text


def test_unknown_words_are_counted(chat, caplog):
    chat.sample("What does the purple giraffe do?", 1)
    assert "22 prompt tokens, 2 of them unknown words" in caplog.messages


def test_every_question_has_its_own_noise(chat):
    first, second = (jax.random.key_data(chat._next_key()) for _ in range(2))
    assert (first != second).any()


def test_the_loop_continues_after_errors(chat, clips, folder, caplog, capsys):
    asked = []
    lines = [
        f" {QUESTION}\n", "/video nothing.mp4", "/vidoe x", f"/video {folder / 'second.mp4'}",
        OTHER, "", "never asked",
    ]  # fmt: skip

    def respond(question):
        asked.append((pathlib.Path(chat.video).stem, question))
        if question == QUESTION:
            raise UserError("too\nhard")

    def watch(path):
        chat.watch(clips(path))

    converse(lines, respond, watch)
    assert asked == [("first", QUESTION), ("second", OTHER)]
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert errors == [
        "error: too hard",
        "error: video nothing.mp4: is missing",
        "error: /vidoe is not a command; there are /video PATH and /quit",
    ]
    converse(["/quit", "never asked"], respond, watch)
    assert len(asked) == 2


def test_script_answers_a_pipe(chat, folder, capsys):
    expected = said(chat, QUESTION, capsys) + said(chat, OTHER, capsys)
    command = [sys.executable, "scripts/chat.py", f"--checkpoint={folder}/run/checkpoints/rl"]
    done = subprocess.run(
        [*command, f"--video={folder}/first.mp4"], cwd=ROOT, capture_output=True, text=True,
        input=f"{QUESTION}\n/video {folder}/none.mp4\n{OTHER}",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
    assert "3 of 8 frames read" in done.stderr.splitlines()[0]
    assert "none.mp4: is missing" in done.stderr


def test_script_shows_samples_in_the_oracles_order(folder, capsys):
    scripts.run(
        "chat", f"--checkpoint={folder}/run/checkpoints/rl", f"--video={folder}/first.mp4",
        f"--question={QUESTION}", "--samples=3", "--oracle=reference", "--reference=It stays.",
    )  # fmt: skip
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "Oracle rank  log-prob  answer"
    assert len({row[13 + 8 :] for row in rows}) == len(rows) == 3  # the noise differs
    ranks = [float(row.split()[0]) for row in rows]
    assert ranks == sorted(ranks) and sum(ranks) == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--video=none.mp4", "--question=Who?"], "video none.mp4: is missing"),
        (["--video=a.mp4", "--samples=2", "--oracle=reference"], "--reference="),
        (["--video=a.mp4", "--oracle=reward"], "--samples=5"),
    ],
)
def test_script_refuses_in_one_line(folder, flags, words, capsys):
    assert scripts.status_of("chat", f"--checkpoint={folder}/run/checkpoints/rl", *flags) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ") and words in line
