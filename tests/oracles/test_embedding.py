"""Answers in the order of their similarity to the reference, by a sentence model."""

import subprocess
import sys

import numpy as np
import pytest

from orl_jax.oracles import RankRequest, make_oracle
from orl_jax.oracles.embedding import EmbeddingOracle
from orl_jax.run.errors import UserError

# Directions in the plane: degrees from the reference, by hand.
DEGREES = {"exact": 0, "near": 10, "far": 60, "opposite": 180, "other": 70, "near other": 75}


class Encoder:
    """Hand-made vectors; records the calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, texts):
        self.calls.append(texts)
        angles = np.radians([DEGREES[text] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def request(*responses, truncated=(), reference="exact", paraphrases=()):
    return RankRequest(
        "p", "Q?", responses, truncated, reference=reference, paraphrases=paraphrases
    )


def test_the_nearest_is_the_best():
    (ranking,) = EmbeddingOracle(Encoder()).rank([request("far", "opposite", "exact", "near")])
    assert ranking.ranks == (2, 3, 0, 1)
    assert ranking.scores == (0.5, -1, 1, 0.9848)


def test_the_nearest_of_all_accepted_answers_counts():
    asked = request("near other", "near", "far", paraphrases=("other",))
    (ranking,) = EmbeddingOracle(Encoder()).rank([asked])
    assert ranking.scores == (0.9962, 0.9848, 0.9848)  # 5, 10 and 10 degrees
    assert ranking.ranks == (0, 1.5, 1.5)


def test_truncated_answers_are_below_complete_ones():
    asked = request("exact", "opposite", "far", truncated=(True, False, True))
    (ranking,) = EmbeddingOracle(Encoder()).rank([asked])
    assert ranking.scores == (-1.5, -1, -1.75) and ranking.ranks == (1, 0, 2)


def test_a_blank_answer_is_last():
    (ranking,) = EmbeddingOracle(Encoder()).rank([request("", "far", " \n")])
    assert ranking.ranks == (1.5, 0, 1.5)


def test_without_references_the_most_common_answer_is_best():
    oracle = EmbeddingOracle(Encoder(), near="others")
    (ranking,) = oracle.rank([request("near", "other", "far", "", reference=None)])
    # degrees 10, 70, 60 and a blank: cos 60 + cos 50, cos 60 + cos 10, cos 50 + cos 10, less 1
    assert ranking.scores == (0.0476, 0.1616, 0.2092, -1) and ranking.ranks == (2, 1, 0, 3)


def test_or_the_answer_nearest_to_the_question():
    DEGREES["Q?"] = 65
    (ranking,) = EmbeddingOracle(Encoder(), near="question").rank([request("far", "exact")])
    assert ranking.scores == (0.9962, 0.4226)


def test_an_unknown_target_is_refused():
    with pytest.raises(UserError, match="embedding.near is 'answer'"):
        EmbeddingOracle(Encoder(), near="answer")


@pytest.mark.parametrize("reference", [None, "", "  "])
def test_without_a_reference_there_is_no_order(reference):
    encoder = Encoder()
    asked = request("far", "near", reference=reference, paraphrases=("exact",))
    rankings = EmbeddingOracle(encoder).rank([asked, request("far", "near")])
    assert [ranking.valid for ranking in rankings] == [False, True]
    assert rankings[0].reason == "the request has no reference answer"


def test_each_text_is_encoded_once():
    encoder = Encoder()
    oracle = EmbeddingOracle(encoder)
    first = [request("far", "near", "far"), request("near", "exact", reference="far")]
    rankings = oracle.rank(first)
    assert [sorted(call) for call in encoder.calls] == [["exact", "far", "near"]]
    assert oracle.rank(first) == rankings and len(encoder.calls) == 1
    oracle.rank([request("far", "opposite")])
    assert encoder.calls[1:] == [["opposite"]]


def test_the_number_of_kept_vectors_is_limited():
    encoder = Encoder()
    oracle = EmbeddingOracle(encoder, kept=2)
    assert oracle.rank([request("far", "near", "other")])[0].ranks == (1, 0, 2)
    oracle.rank([request("exact")])
    assert len(oracle._vectors) == 2
    assert encoder.calls[1:] == []  # the last two are kept
    oracle.rank([request("far")])
    assert encoder.calls[1:] == [["far"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random BERT as a sentence model."""
    sentences = pytest.importorskip("sentence_transformers", reason="it runs the sentence model")
    transformers = pytest.importorskip("transformers")
    place = tmp_path_factory.mktemp("bert")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] the circle is red blue . it jumps".split()
    (place / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(place / "vocab.txt")).save_pretrained(place)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    transformers.set_seed(0)
    transformers.BertModel(config).save_pretrained(place)
    target = tmp_path_factory.mktemp("sentence")
    sentences.SentenceTransformer(str(place), device="cpu").save(str(target))  # with mean pooling
    return target


def test_a_sentence_model_from_a_folder(folder):
    section = {"name": "embedding", "embedding": {"model": str(folder), "batch_size": 2}}
    asked = request(
        "It jumps.", "the circle is blue .", "The circle is red.", "the CIRCLE is red .",
        reference="The circle is red.",
    )  # fmt: skip
    (ranking,) = make_oracle(section).rank([asked])
    assert ranking.ranks[2:] == (0.5, 0.5) and ranking.scores[2:] == (1, 1)  # the same tokens
    assert sorted(ranking.ranks[:2]) == [2, 3]


def test_it_imports_no_jax(folder):
    code = (
        "import sys; from orl_jax.oracles import RankRequest, make_oracle\n"
        f"section = {{'name': 'embedding', 'embedding': {{'model': {str(folder)!r}}}}}\n"
        "oracle = make_oracle(section)\n"
        "oracle.rank([RankRequest('p', 'Q', ('red', 'blue'), reference='red')])\n"
        "sys.exit('jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_loaded_is_the_users_error(tmp_path, monkeypatch):
    def make(**section):
        return make_oracle({"name": "embedding", "embedding": section})

    with pytest.raises(UserError, match="oracle.embedding.model is empty"):
        make()
    with pytest.raises(UserError, match="oracle.embedding.modle is not a key; choose from model"):
        make(modle="x")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(UserError, match=r"needs sentence-transformers .*\[embeddings\]"):
            make(model="x")
    pytest.importorskip("sentence_transformers", reason="it says what it cannot load")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="a folder that cannot be loaded"):
        make(model=str(tmp_path))
    with pytest.raises(UserError, match="no folder, and a name that cannot be loaded"):
        make(model=str(tmp_path / "none"))
