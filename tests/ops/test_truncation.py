"""Truncated distributions: by hand, as in transformers, and as drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.models.sampler import _choose
from orl_jax.ops.log_probs import BANNED_LOGIT, masked_logits, token_log_probs
from orl_jax.ops.truncation import WHOLE, Truncation

# Probabilities 0.4, 0.3, 0.2, 0.1 and a banned token.
LOGITS = jnp.log(jnp.array([0.2, 0.4, 0.1, 0.3, 0.5]))
BANNED = jnp.array([False, False, False, False, True])
ALL = [
    Truncation(top_k=2), Truncation(top_p=0.75), Truncation(min_p=0.5), Truncation(3, 0.95, 0.4),
]  # fmt: skip


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [
        (Truncation(), [0, 1, 2, 3]),
        (Truncation(top_k=9), [0, 1, 2, 3]),
        (Truncation(top_k=1), [1]),
        (Truncation(top_k=2), [1, 3]),
        (Truncation(top_p=0.01), [1]),
        (Truncation(top_p=0.69), [1, 3]),
        (Truncation(top_p=0.71), [0, 1, 3]),
        (Truncation(min_p=0.49), [0, 1, 3]),
        (Truncation(min_p=0.51), [1, 3]),
        (Truncation(top_k=2, top_p=0.5), [1]),  # of the two that are left 4/7 and 3/7
        (Truncation(top_k=2, top_p=0.6), [1, 3]),
    ],
)
def test_by_hand(truncation, kept):
    logits = masked_logits(LOGITS, 1.0, BANNED, truncation)
    np.testing.assert_array_equal(np.flatnonzero(logits > BANNED_LOGIT), kept)
    np.testing.assert_allclose(logits[jnp.array(kept)], LOGITS[jnp.array(kept)])


def test_equally_likely_tokens_are_kept_or_left_out_together():
    assert Truncation(top_k=1).kept(jnp.array([1.0, 2.0, 2.0])).tolist() == [False, True, True]
    assert Truncation(top_p=0.1).kept(jnp.zeros(3)).all()


def test_a_sampled_token_keeps_its_probability():
    logits = masked_logits(LOGITS, 1.0, BANNED, Truncation(top_k=1), jnp.array(2))
    np.testing.assert_allclose(jax.nn.softmax(logits), [0, 0.8, 0.2, 0, 0], atol=1e-6)


@pytest.mark.parametrize("truncation", ALL)
def test_the_tokens_are_those_of_transformers(truncation):
    torch = pytest.importorskip("torch", reason="parity: pip install -e .[torch]")
    process = pytest.importorskip("transformers").generation.logits_process
    warpers = [process.TemperatureLogitsWarper(0.7)]
    if truncation.top_k:
        warpers.append(process.TopKLogitsWarper(truncation.top_k))
    if truncation.top_p < 1:
        warpers.append(process.TopPLogitsWarper(truncation.top_p))
    if truncation.min_p:
        warpers.append(process.MinPLogitsWarper(truncation.min_p))
    logits = 3 * np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    scores = torch.tensor(logits)
    for warper in warpers:
        scores = warper(None, scores)
    ours = jax.nn.softmax(masked_logits(jnp.array(logits), 0.7, None, truncation))
    np.testing.assert_allclose(ours, scores.softmax(-1).numpy(), atol=1e-6)


@pytest.mark.parametrize("truncation", ALL)
def test_draws_follow_the_renormalised_distribution(truncation):
    """200,000 draws: every share within five standard errors, nothing else drawn."""
    count, logits = 200_000, 2 * jnp.array(np.random.default_rng(1).normal(size=12), jnp.float32)
    banned = jnp.arange(12) == 3
    rows = jnp.broadcast_to(logits, (1, count, 12))
    token, log_prob = _choose(rows, banned, jax.random.key(0), 0.8, truncation)
    kept = np.asarray(truncation.kept(jnp.where(banned, -jnp.inf, logits / 0.8)))
    expected = np.where(kept, np.exp(np.asarray(logits, np.float64) / 0.8), 0)
    expected /= expected.sum()
    assert 1 < kept.sum() < 11
    found = np.bincount(np.asarray(token[0]), minlength=12) / count
    assert (np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()
    np.testing.assert_allclose(log_prob[0], np.log(expected)[token[0]], atol=1e-5)


def test_log_probs_and_entropy_are_of_the_kept_tokens():
    # one unit of width: the logits themselves; the third position samples a token left out
    kernel = jnp.concatenate([LOGITS])[None]
    hidden, tokens = jnp.ones((3, 1)), jnp.array([1, 3, 2])
    options = {"banned": BANNED, "truncation": Truncation(top_k=2)}
    found = token_log_probs(hidden, kernel, tokens, **options)
    np.testing.assert_allclose(found.log_prob, np.log([4 / 7, 3 / 7, 1 / 8]), atol=1e-6)
    p = np.array([4 / 7, 3 / 7])
    np.testing.assert_allclose(found.entropy[:2], -(p * np.log(p)).sum(), atol=1e-6)
    chunked = token_log_probs(hidden, kernel, tokens, chunk_size=2, **options)
    np.testing.assert_allclose(chunked.log_prob, found.log_prob, atol=1e-6)
    slope = jax.grad(lambda k: token_log_probs(hidden[:1], k, tokens[:1], **options).log_prob[0])
    np.testing.assert_allclose(slope(kernel)[0], [0, 3 / 7, 0, -3 / 7, 0], atol=1e-6)


def test_settings():
    assert not WHOLE and all(ALL)
    for options, words in (
        ({"top_k": -1}, "top_k is -1; it must be 0 .all tokens. or more"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": 1.0}, "min_p is 1.0; it must be at least 0 and below 1"),
    ):
        with pytest.raises(ValueError, match=words):
            Truncation(**options)
