"""LLaMA's real vocabulary: our ids match those of its own tokenizers and of the baseline."""

import random
import shutil
from collections.abc import Callable

import pytest
from assets import npm
from llama_vocabulary import node_ids, read_vocabulary, write_sentencepiece, write_tokenizer_json

from orl_jax.data.text.prompt import format_example, format_prompt
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import load_tokenizer

pytestmark = pytest.mark.real

VISUAL = 626  # visual tokens for 50 frames of 336 pixels
QUESTION = "What does the man in the  red jacket do\nafter 12 seconds? 你好 🦙"
ANSWER = "He  runs to the left, and then (at 0:12) he falls."
# "A chat between a curious user … USER: ", as LLaVA-1.5 reads it; 29871 is the space at the end.
OPENING = [
    1, 319, 13563, 1546, 263, 12758, 1404, 322, 385, 23116, 21082, 20255, 29889, 450, 20255, 4076,
    8444, 29892, 13173, 29892, 322, 1248, 568, 6089, 304, 278, 1404, 29915, 29879, 5155, 29889,
    3148, 1001, 29901, 29871,
]  # fmt: skip

WORDS = (
    "the red circle moves left of it don't unbelievable internationalization John Zürich".split()
)
CODE = (
    "def f(x):\n    return x**2", "for (int i=0;i<n;++i) { a[i] += 1; }", "#include <stdio.h>",
    "x = {'a': [1, 2]}", '</div><p class="a">', "\tif ok:\n\t\tpass",
)  # fmt: skip
CJK = "你好世界镇红色圆圈向左移动日本語テキスト한국어문장龘靐"
EMOJI = "😀🦙👩‍👩‍👧🇫🇷🏳️‍🌈❤️✨"


def scrap(rng: random.Random) -> str:
    return rng.choice(
        (
            lambda: " ".join(rng.choices(WORDS, k=rng.randint(1, 8))),
            lambda: rng.choice(CODE),
            lambda: str(rng.randrange(10 ** rng.randint(1, 12))),
            lambda: "".join(rng.choices(EMOJI, k=rng.randint(1, 6))),
            lambda: "".join(rng.choices(CJK, k=rng.randint(1, 12))),
            lambda: " " * rng.randint(1, 20),
            lambda: rng.choice("\n\t\r") * rng.randint(1, 3),
            lambda: "".join(chr(rng.randrange(32, 0x600)) for _ in range(rng.randint(1, 15))),
        )
    )()


def texts() -> list[str]:
    """1,000 texts, the first one empty."""
    rng = random.Random(0)
    return [""] + ["".join(scrap(rng) for _ in range(rng.randint(1, 6))) for _ in range(999)]


@pytest.fixture(scope="module")
def package():
    return npm("llama-tokenizer-js", "1.2.2")


@pytest.fixture(scope="module")
def original(package, tmp_path_factory) -> Callable[[list[str]], list[list[int]]]:
    """Ids of texts from the package's own tokenizer."""
    if shutil.which("node") is None:
        pytest.skip("llama-tokenizer-js: there is no node to run it")
    return lambda texts: node_ids(package, texts, tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module", params=["tokenizer.json", "tokenizer.model"])
def folder(request, package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    write = {"tokenizer.json": write_tokenizer_json, "tokenizer.model": write_sentencepiece}
    write[request.param](folder, read_vocabulary(package))
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


def encoder(tokenizer) -> PromptEncoder:
    return PromptEncoder(tokenizer, VISUAL, 1024, 896)


def test_ids_match_the_original_tokenizer(tokenizer, original):
    for text, expected in zip(texts(), original(texts()), strict=True):
        assert tokenizer(text)["input_ids"] == [1, *expected], repr(text)


def test_the_slow_tokenizer_agrees(package, original, tmp_path):
    """The baseline uses sentencepiece itself."""
    sentencepiece = pytest.importorskip("sentencepiece")
    write_sentencepiece(tmp_path, read_vocabulary(package))
    slow = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert slow.encode(texts()) == original(texts())


def test_two_tokens_are_appended(tokenizer):
    assert len(tokenizer) == 32_002
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<pad>", 32_000)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 32_001]) == ["<unk>", "<s>", "</s>", "<image>"]
    assert (tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


def test_a_prompt_with_a_video_matches_the_baseline(tokenizer, original):
    """`tokenizer_image_token` tokenises the chunks around `<image>` separately, with one `<s>`."""
    ids, mask = encoder(tokenizer).encode_prompt(QUESTION)
    before, after = original(format_prompt(QUESTION).split("<image>"))
    assert ids[mask].tolist() == [1, *before, *[32_001] * VISUAL, *after]
    assert [1, *before] == OPENING
    assert after[:2] == [29871, 13]  # a space that the tokenizer inserts, and the line break


def test_training_sequences_match_the_baseline(tokenizer, original):
    """Prompt and answer, tokenised separately, give the ids of the whole conversation."""
    encode = encoder(tokenizer)
    (prompt, asked), (response, answered) = (
        encode.encode_prompt(QUESTION),
        encode.encode_response(ANSWER),
    )
    before, after = original(format_example(QUESTION, ANSWER, end="").split("<image>"))
    whole = [1, *before, *[32_001] * VISUAL, *after, 2]
    assert prompt[asked].tolist() + response[answered].tolist() == whole


def test_answers_are_decoded_unchanged(tokenizer):
    encode = encoder(tokenizer)
    for text in texts():
        ids, _ = encode.encode_sampled(text, False, 896)
        assert encode.decode(ids) == (text.strip(), False)
