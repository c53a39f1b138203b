"""LLaMA: parity with `transformers`, its parameter tree, its parts by hand, its invariants."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from ml_collections import ConfigDict
from tiny_model import make_llama, normal, random_params

from orl_jax.models.attention import attend
from orl_jax.models.llama import Llama
from orl_jax.models.llama_block import RMSNorm
from orl_jax.models.params import flatten
from orl_jax.run.config import validate
from orl_jax.run.errors import UserError

B, G, T, D = 2, 2, 5, 8


@pytest.fixture(scope="module")
def inputs():
    """Embedded tokens [B, G, T, D], positions, and a mask that hides one token in the middle."""
    x = normal(B, G, T, D)
    positions = jnp.broadcast_to(jnp.arange(T), (B, G, T))
    return x, positions, jnp.ones((B, G, T), bool).at[1, 0, 2].set(False)


@pytest.fixture(scope="module")
def params(inputs):
    return random_params(make_llama(), *inputs)


@pytest.fixture(scope="module")
def hidden(params):
    """The compiled forward: x, positions, mask -> hidden states."""
    model = make_llama()
    return jax.jit(lambda *inputs: model.apply({"params": params}, *inputs)[0])


# Changes of the model, theirs and ours, and the length of the texts. Frequencies are 1 and 0.1; in
# heads of width 8 also 0.32 and 0.03, so that llama3 keeps one, mixes one and slows two.
CASES = {
    "one key-value head": ({"num_key_value_heads": 1}, {"kv_heads": 1}, 6),
    "two key-value heads": ({"num_key_value_heads": 2}, {"kv_heads": 2}, 6),
    "four key-value heads": ({"num_key_value_heads": 4}, {"kv_heads": 4}, 6),
    "tied embeddings": ({"tie_word_embeddings": True}, {"tied": True}, 6),
    "another head width": ({"head_dim": 6}, {"head_width": 6}, 6),
    "linear": (
        {"rope": {"rope_type": "linear", "factor": 4.0}, "max_position_embeddings": 8},
        {"rope_scaling": "linear", "rope_factor": 4.0},
        24,
    ),
    "llama3": (
        {
            "rope": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0.2,
                "high_freq_factor": 1.2, "original_max_position_embeddings": 8,
            },
            "head_dim": 8,
        },
        {
            "rope_scaling": "llama3", "rope_factor": 8.0, "rope_low_frequency": 0.2,
            "rope_high_frequency": 1.2, "rope_original_length": 8, "head_width": 8,
        },
        24,
    ),
    "eleven periods of the slowest rotation": ({}, {}, 700),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_logits_and_states_are_those_of_transformers(case):
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    changes, our_changes, length = CASES[case]
    theirs = torch_weights.torch_llama(**changes)
    ours = Llama(**(torch_weights.LLAMA | our_changes))
    params = torch_weights.llama(torch_weights.randomised(theirs), 2, ours.tied)
    ids = np.random.default_rng(0).integers(0, 11, (2, length))
    mask = np.arange(length) >= np.array([[2], [0]])  # the first row is padded on the left
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask.astype("i8")),
            position_ids=torch.tensor(positions),
            output_hidden_states=True,
        )

    def forward(model):
        rows = (jnp.asarray(value)[:, None] for value in (positions, mask))
        hidden, _ = model(model.embed(jnp.asarray(ids))[:, None], *rows)
        return hidden[:, 0], hidden[:, 0] @ model.vocabulary_kernel()

    hidden, logits = jax.jit(partial(ours.apply, method=forward))({"params": params})
    for out, wanted in ((hidden, expected.hidden_states[-1]), (logits, expected.logits)):
        assert float(wanted.abs().mean()) > 0.1
        np.testing.assert_allclose(out[mask], wanted.numpy()[mask], atol=2e-5)


def test_parameter_tree_with_lora(params):
    # 2 layers, width 8, 2 heads of width 4, 1 key-value head, MLP width 12, rank 2, 13 tokens
    assert {path: value.shape for path, value in flatten(params).items()} == {
        "embedding": (13, 8),
        "layers/attention_norm/scale": (2, 8),
        "layers/q/kernel": (2, 8, 8),
        "layers/q/lora_a": (2, 8, 2),
        "layers/q/lora_b": (2, 2, 8),
        "layers/k/kernel": (2, 8, 4),
        "layers/k/lora_a": (2, 8, 2),
        "layers/k/lora_b": (2, 2, 4),
        "layers/v/kernel": (2, 8, 4),
        "layers/v/lora_a": (2, 8, 2),
        "layers/v/lora_b": (2, 2, 4),
        "layers/o/kernel": (2, 8, 8),
        "layers/o/lora_a": (2, 8, 2),
        "layers/o/lora_b": (2, 2, 8),
        "layers/mlp_norm/scale": (2, 8),
        "layers/gate/kernel": (2, 8, 12),
        "layers/gate/lora_a": (2, 8, 2),
        "layers/gate/lora_b": (2, 2, 12),
        "layers/up/kernel": (2, 8, 12),
        "layers/up/lora_a": (2, 8, 2),
        "layers/up/lora_b": (2, 2, 12),
        "layers/down/kernel": (2, 12, 8),
        "layers/down/lora_a": (2, 12, 2),
        "layers/down/lora_b": (2, 2, 8),
        "norm/scale": (8,),
        "lm_head": (8, 13),
    }


@pytest.mark.parametrize("place", range(T))
def test_a_token_affects_only_itself_and_later_ones_of_its_row(hidden, inputs, place):
    x, positions, _ = inputs
    mask = jnp.ones((B, G, T), bool)
    change = jnp.abs(
        hidden(x, positions, mask) - hidden(x.at[0, 1, place].add(1.0), positions, mask)
    ).max(axis=-1)
    later = jnp.zeros((B, G, T), bool).at[0, 1, place:].set(True)
    assert (change[later] > 1e-4).all()
    assert (change[~later] < 1e-6).all()


def test_a_masked_token_does_not_affect_others(hidden, inputs):
    x, positions, mask = inputs
    out, changed = hidden(x, positions, mask), hidden(x.at[1, 0, 2].set(9.0), positions, mask)
    np.testing.assert_allclose(out[mask], changed[mask], atol=1e-6)


def test_left_padding_has_no_effect(hidden, inputs):
    x, positions, _ = inputs
    short = hidden(x[:, :, 2:], positions[:, :, :-2], jnp.ones((B, G, T - 2), bool))
    padded = hidden(
        x.at[:, :, :2].set(7.0),
        jnp.maximum(positions - 2, 0),
        jnp.ones((B, G, T), bool).at[:, :, :2].set(False),
    )
    np.testing.assert_allclose(padded[:, :, 2:], short, atol=1e-5)


def test_only_distances_between_positions_matter(hidden, inputs):
    x, positions, mask = inputs
    np.testing.assert_allclose(
        hidden(x, positions, mask), hidden(x, positions + 11, mask), atol=1e-4
    )
    assert jnp.abs(hidden(x, positions, mask) - hidden(x, 2 * positions, mask)).max() > 1e-2


def test_scan_and_remat_change_nothing(params, inputs):
    def gradient(model):
        def loss(params):
            return (model.apply({"params": params}, *inputs)[0][..., 0] ** 2).sum()

        return jax.jit(jax.value_and_grad(loss))(params)

    out, expected = gradient(make_llama(unroll=2, remat=True)), gradient(make_llama())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), out, expected)


def test_half_precision_stays_half_and_is_near(params, inputs, hidden):
    apply = jax.jit(make_llama(dtype="bfloat16").apply)
    x, positions, mask = inputs
    out, segment = apply({"params": params}, x, positions, mask)
    assert {out.dtype, segment.keys.dtype, segment.values.dtype} == {jnp.dtype("bfloat16")}
    assert np.isfinite(out.astype("f4")).all()
    expected = hidden(*inputs)[mask]
    error = np.linalg.norm(out.astype("f4")[mask] - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 0.02
    # float32 inputs do not make the layers float32
    half, _ = apply({"params": params}, x.astype(jnp.bfloat16), positions, mask)
    np.testing.assert_array_equal(out, half)


def _attend_twice(queries, keys, values, dtype):
    """Attention over two segments of equal size, and its gradients for queries, keys, values."""
    half, mask = keys.shape[-1] // 2, jnp.ones((1, 1, 1, keys.shape[-1] // 2), bool)

    def attention(queries, keys, values):
        segments = tuple(
            (keys[..., part], values[..., part, :]) for part in (slice(half), slice(half, None))
        )
        out = attend(queries, segments, (mask, mask))
        return (jnp.cos(out.astype(jnp.float32))).sum(), out

    inputs = (x.astype(jnp.bfloat16).astype(dtype) for x in (queries, keys, values))
    gradient = jax.jit(jax.grad(attention, argnums=(0, 1, 2), has_aux=True))
    return [np.asarray(x, np.float32) for x in jax.tree.leaves(gradient(*inputs))]


@pytest.mark.parametrize("group", [1, 2])
def test_half_precision_attention_has_float32_scores_and_sums(group):
    # Scores are about 16 and differ by 1: in bfloat16 they would be rounded to eighths.
    queries = 4.0 + normal(1, 2, 3, 4, 16, seed=1)
    keys, values = 1.0 + 0.3 * normal(1, 2, group, 16, 64, seed=2), normal(1, 2, group, 64, 16)
    out = _attend_twice(queries, keys, values, jnp.bfloat16)
    expected = _attend_twice(queries, keys, values, jnp.float32)
    *gradients, values = (
        np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        for found, wanted in zip(out, expected, strict=True)
    )
    assert values < 0.004  # one rounding is up to 2^-8 of a number, at random
    assert max(gradients) < 0.02  # of the weights is rounded before it cancels


def test_a_tied_embedding_gets_the_gradients_of_both_uses(inputs):
    ids, (_, positions, mask) = jnp.arange(B * G * T).reshape(B, G, T) % 13, inputs

    def gradient(model, params):
        def loss(params):
            def logits(model):
                hidden, _ = model(model.embed(ids), positions, mask)
                return hidden @ model.vocabulary_kernel()

            return jnp.cos(model.apply({"params": params}, method=logits)).sum()

        return jax.jit(jax.grad(loss))(params)

    tied = random_params(make_llama(tied=True), *inputs)
    assert "lm_head" not in tied
    head = {"lm_head": tied["embedding"].T}
    apart = gradient(make_llama(), tied | head)
    out = gradient(make_llama(tied=True), tied)["embedding"]
    assert jnp.abs(apart["lm_head"]).max() > 0.1
    np.testing.assert_allclose(out, apart["embedding"] + apart["lm_head"].T, rtol=1e-3, atol=1e-3)


def test_past_segments_equal_earlier_tokens(params, hidden, inputs):
    def pieces(model):
        segments, out = [], []
        for start, end in ((0, 2), (2, 3), (3, T)):
            part = (value[:, :, start:end] for value in inputs)
            states, segment = model(*part, tuple(segments))
            segments.append(segment)
            out.append(states)
        return jnp.concatenate(out, axis=2)

    out = jax.jit(partial(make_llama().apply, method=pieces))({"params": params})
    mask = inputs[2]
    np.testing.assert_allclose(out[mask], hidden(*inputs)[mask], atol=1e-5)


@pytest.mark.parametrize("width", [-2, 5])
def test_a_head_width_that_cannot_be_rotated_is_refused(width):
    with pytest.raises(UserError, match=f"head_width is {width}; it must be even, or 0"):
        validate(ConfigDict({"model": {"language": {"head_width": width}}}))


def test_rms_norm_by_hand():
    # mean square (9 + 16) / 2 = 12.5, + epsilon 12.5 = 25, root 5
    out = RMSNorm(12.5, jnp.float32).apply(
        {"params": {"scale": jnp.array([1.0, 2.0])}}, jnp.array([3.0, 4.0])
    )
    np.testing.assert_allclose(out, [0.6, 1.6], rtol=1e-6)


def test_attention_by_hand():
    # One query, two segments. Scores 2 k / sqrt(4) = k with k = 0 and ln 3: weights 1/4 and 3/4.
    def column(value):
        return np.array([[[[[value, 0, 0, 0]]]]], np.float32)

    def key(value):  # width before tokens
        return column(value).swapaxes(-1, -2)

    segments = ((key(0), column(8)), (key(np.log(3)), column(4)))
    attended = jax.jit(attend)
    seen, hidden = np.ones((1, 1, 1, 1), bool), np.zeros((1, 1, 1, 1), bool)
    both = attended(column(2), segments, (seen, seen))
    np.testing.assert_allclose(both, column(5), rtol=1e-5)  # 8 / 4 + 4 * 3 / 4
    first = attended(column(2), segments, (seen, hidden))
    np.testing.assert_allclose(first, column(8), rtol=1e-6)
    assert np.isfinite(attended(column(2), segments, (hidden, hidden))).all()
