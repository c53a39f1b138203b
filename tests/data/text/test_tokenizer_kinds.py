"""Tokenizers of other families: what training reads is "ASSISTANT: answer", by the baseline's rule.

Byte-level ones put no space before a text (GPT-2, SmolLM2, LLaMA-3), sentencepiece does (LLaMA-2).
"""

import io
import json
import pickle
import sys
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from orl_jax.data.text.prompt import SYSTEM, format_example
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.text.tokenizer import build_word_tokenizer, load_tokenizer
from orl_jax.run.errors import UserError

VISUAL = 3
QUESTION = "How many dogs  bark at\nthe red circle?"
ANSWERS = ("Two dogs bark.", "4, and a circle", '"red" ...', "¿Qué? 犬 🐕", "one\ntwo  three", "x")
TEXTS = (SYSTEM, "USER: \nASSISTANT:", QUESTION, *ANSWERS)
KINDS = ("gpt2", "smollm", "llama3", "end_only", "words", "llama2")
START, END, TURN = "<|start|>", "<|end|>", "<|turn|>"
BYTE_LEVEL = {
    "gpt2": {"bos_token": END, "eos_token": END, "unk_token": END, "pad_token": END},
    "smollm": {"bos_token": START, "eos_token": TURN, "unk_token": END, "pad_token": TURN},
    "llama3": {"bos_token": START, "eos_token": TURN},
    "end_only": {"eos_token": TURN},
}


def byte_level(kind: str) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = [START, END, TURN]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(TEXTS, trainer)
    if kind == "llama3":
        begin = (START, inner.token_to_id(START))
        inner.post_processor = processors.TemplateProcessing(f"{START} $A", special_tokens=[begin])
    return PreTrainedTokenizerFast(tokenizer_object=inner, **BYTE_LEVEL[kind])


def write_sentencepiece(folder) -> Callable[[str], list[int]]:
    """A folder as in the baseline's checkpoints, with only `tokenizer.model`; and how it encodes.

    As in LLaMA's, runs of spaces have low ids but are merged last.
    """
    sentencepiece = pytest.importorskip("sentencepiece")
    from sentencepiece import sentencepiece_model_pb2

    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=content, model_type="bpe", vocab_size=360,
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity",
        remove_extra_whitespaces=False, unk_piece="<unk>", minloglevel=2,
    )  # fmt: skip
    model = sentencepiece_model_pb2.ModelProto.FromString(content.getvalue())
    spaces = sentencepiece_model_pb2.ModelProto.SentencePiece(piece="▁▁", score=-1e9, type=1)
    model.pieces.insert(259, spaces)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"unk_token": "<unk>"}))
    slow = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    return lambda text: [1, *slow.encode(text)]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "llama2":
        write_sentencepiece(folder)
    elif request.param == "words":
        build_word_tokenizer(TEXTS).save_pretrained(folder)
    else:
        byte_level(request.param).save_pretrained(folder)
    return load_tokenizer(folder)


def encoder(tokenizer) -> PromptEncoder:
    return PromptEncoder(tokenizer, VISUAL, 400, 60)


def baseline_ids(text: str, encode: Callable[[str], list[int]], start: int | None) -> list[int]:
    """`tokenizer_image_token`: chunks around `<image>` apart, one `<s>`; -1 for a visual token."""
    before, after = (encode(chunk) for chunk in text.split("<image>"))
    begins = start is not None and before[0] == start
    return before + [-1] * VISUAL + after[begins:]


def ours(encoder: PromptEncoder, question: str, answer: str) -> list[int]:
    prompt, prompt_mask = encoder.encode_prompt(question)
    response, response_mask = encoder.encode_response(answer)
    ids = prompt[prompt_mask].tolist() + response[response_mask].tolist()
    return [-1 if i == encoder.image_id else i for i in ids]


@pytest.mark.parametrize("answer", ANSWERS)
def test_training_reads_the_template(tokenizer, answer):
    def encode(text: str) -> list[int]:
        return tokenizer(text)["input_ids"]

    text = format_example(QUESTION, answer, end=tokenizer.eos_token)
    expected = baseline_ids(text, encode, tokenizer.bos_token_id)
    assert ours(encoder(tokenizer), QUESTION, answer) == expected


# Words keep single spaces only: see test_tokenizer.py.
@pytest.mark.parametrize("tokenizer", [kind for kind in KINDS if kind != "words"], indirect=True)
@pytest.mark.parametrize("answer", ANSWERS)
def test_decode_undoes_encode(tokenizer, answer):
    encode = encoder(tokenizer)
    assert encode.decode(encode.encode_response(answer)[0]) == (answer, False)
    assert encode.decode(encode.encode_sampled(answer, True, 60)[0]) == (answer, True)


def test_the_end_can_be_sampled_and_padding_is_another_token(tokenizer):
    encode = encoder(tokenizer)
    ids, mask = encode.encode_response("")
    assert ids[mask].tolist() == [tokenizer.eos_token_id] == [encode.end_id]
    assert not encode.banned_ids[encode.end_id]
    assert encode.banned_ids[[encode.pad_id, encode.image_id]].all()
    assert encode.pad_id != encode.end_id


def test_special_tokens_of_any_tokenizer_are_dropped(tokenizer):
    encode = encoder(tokenizer)
    for marker in tokenizer.all_special_tokens + [START, END, TURN, "<image>"]:
        if len(tokenizer(marker, add_special_tokens=False)["input_ids"]) > 1:
            continue  # plain text to this tokenizer
        spoilt = f"{marker}Two {marker[:2]}{marker}{marker[2:]}dogs bark.{marker}"
        assert ours(encode, spoilt, spoilt) == ours(encode, "Two dogs bark.", "Two dogs bark.")


def test_an_end_token_not_marked_as_special_is_also_dropped():
    inner = Tokenizer(models.BPE({"a": 0, "<e>": 1, "<image>": 2, "<pad>": 3}, []))
    inner.add_tokens([AddedToken("<e>", special=False, normalized=False)])
    odd = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<e>", pad_token="<pad>")
    assert encoder(odd).encode_sampled("a<e>a", False, 4)[0].tolist() == [0, 0, 1, 3]


def test_encoders_can_be_pickled(tokenizer):
    again = pickle.loads(pickle.dumps(encoder(tokenizer)))
    assert ours(again, QUESTION, "two") == ours(encoder(tokenizer), QUESTION, "two")


def test_a_sentencepiece_model_keeps_its_ids(tmp_path):
    slow = write_sentencepiece(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    for text in (*TEXTS, "two  spaces", "a   b    c", "", "\n", "🐕 犬"):
        assert tokenizer(text)["input_ids"] == slow(text), text
    text = format_example(QUESTION, "Two dogs bark.", end="")
    expected = [*baseline_ids(text, slow, 1), 2]
    assert ours(encoder(tokenizer), QUESTION, "Two dogs bark.") == expected


def test_a_sentencepiece_model_needs_its_package(tmp_path, monkeypatch):
    (tmp_path / "tokenizer.model").touch()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match="tokenizer.model needs .* pip install sentencepiece"):
        load_tokenizer(tmp_path)


def test_its_own_file_is_read_without_the_models_of_transformers(tmp_path, monkeypatch):
    """They import torch, where that is installed: seconds of every start."""
    saved = build_word_tokenizer(TEXTS)
    saved.save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert load_tokenizer(tmp_path).get_vocab() == saved.get_vocab()


def test_special_tokens_that_only_the_class_knows(tmp_path):
    """GPT-2's own folder names none; its class does, and they must not be lost."""
    byte_level("gpt2").backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert load_tokenizer(tmp_path).eos_token == "<|endoftext|>"


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    byte_level("llama3").backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match='no end token.*"eos_token" in its tokenizer_config.json'):
        load_tokenizer(tmp_path)
