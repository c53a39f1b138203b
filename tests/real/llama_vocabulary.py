"""The vocabulary of LLaMA 1 and 2 from llama-tokenizer-js, as models ship it, and its own ids."""

import base64
import json
import pathlib
import re
import struct
import subprocess
from typing import NamedTuple

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}  # ids 0, 1, 2
BYTES_END = 3 + 256  # special tokens, then one token per byte
RUN_SCORE = -1e9  # for runs of spaces: they have low ids and are merged last

NODE = """
import { readFileSync } from "node:fs";
const { default: tokenizer } = await import(process.argv[2]);
const texts = JSON.parse(readFileSync(process.argv[3], "utf8"));
console.log(JSON.stringify(texts.map((text) => tokenizer.encode(text, false, true))));
"""


class Vocabulary(NamedTuple):
    """The 32,000 pieces by id, and the merged pairs in order of priority."""

    pieces: list[str]
    merges: list[tuple[str, str]]


def read_vocabulary(package: pathlib.Path) -> Vocabulary:
    """Pieces are lines in base64; a merge is a pair of 16-bit ids."""
    source = (package / "llama-tokenizer.js").read_text()
    vocabulary, merges = (
        base64.b64decode(re.search(rf'{name} = "([^"]+)"', source)[1])
        for name in ("llama_vocab_base64", "llama_merges_binary")
    )
    pieces = vocabulary.decode().split("\n")
    pairs = [(pieces[a], pieces[b]) for a, b in struct.iter_unpack("<HH", merges)]
    return Vocabulary(pieces, pairs)


def write_tokenizer_json(folder: pathlib.Path, vocabulary: Vocabulary) -> None:
    """A Hugging Face folder with LLaMA's legacy rules in `tokenizer.json`."""
    ids = {piece: i for i, piece in enumerate(vocabulary.pieces)}
    model = models.BPE(ids, vocabulary.merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    inner = Tokenizer(model)
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    inner.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL).save_pretrained(folder)


def write_sentencepiece(folder: pathlib.Path, vocabulary: Vocabulary) -> None:
    """A folder like those of the baseline's checkpoints: `tokenizer.model`, no `tokenizer.json`.

    A piece's score is minus its rank, which its id tells but for runs of spaces.
    """
    protocol = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    model = protocol.ModelProto()
    for i, piece in enumerate(vocabulary.pieces):
        kind = 2 if i == 0 else 3 if i < 3 else 6 if i < BYTES_END else 1
        run = len(piece) > 1 and set(piece) == {"▁"}
        score = 0 if i < BYTES_END else RUN_SCORE if run else BYTES_END - i
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type = protocol.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = False
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    settings = SPECIAL | {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def node_ids(package: pathlib.Path, texts: list[str], folder: pathlib.Path) -> list[list[int]]:
    """Ids of texts by the package itself, without `<s>`; `folder` holds the script and texts."""
    script, file = folder / "encode.mjs", folder / "texts.json"
    script.write_text(NODE)
    file.write_text(json.dumps(texts))
    module = (package / "llama-tokenizer.js").resolve().as_uri()
    done = subprocess.run(
        ["node", str(script), module, str(file)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return json.loads(done.stdout)
