"""LLaMA against `transformers`, its parameter tree, its parts by hand and its invariants."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from tiny_model import make_llama, normal, random_params

from orl_jax.models.llama import Llama, RMSNorm, attend, rotary_angles, rotate
from orl_jax.models.params import flatten

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


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_logits_are_those_of_transformers(kv_heads):
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=11, hidden_size=16, intermediate_size=20, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=kv_heads, rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
    )  # fmt: skip
    theirs = LlamaForCausalLM(config)
    params = torch_weights.llama(torch_weights.randomised(theirs), 2)
    ids = np.array([[0, 0, 3, 9, 5, 1], [7, 2, 4, 10, 6, 8]])
    mask = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]], bool)  # padded on the left
    positions = np.maximum(mask.cumsum(axis=1) - 1, 0)
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask.astype("i8")),
            position_ids=torch.tensor(positions),
        ).logits
    ours = Llama(
        vocabulary=11, width=16, layers=2, heads=4, kv_heads=kv_heads, mlp_width=20,
        rope_base=100.0, norm_epsilon=1e-3,
    )  # fmt: skip

    def logits(model):
        rows = (jnp.asarray(value)[:, None] for value in (positions, mask))
        hidden, _ = model(model.embed(jnp.asarray(ids))[:, None], *rows)
        return hidden[:, 0] @ model.vocabulary_kernel()

    out = jax.jit(partial(ours.apply, method=logits))({"params": params})
    assert float(expected.abs().mean()) > 0.1
    np.testing.assert_allclose(out[mask], expected.numpy()[mask], atol=1e-5)


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
def test_a_token_changes_itself_and_later_ones_of_its_row_only(hidden, inputs, place):
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


def test_half_precision_stays_half(params, inputs, hidden):
    model = make_llama(dtype="bfloat16")
    x, positions, mask = inputs
    x = x.astype(jnp.bfloat16)
    out, segment = jax.jit(model.apply)({"params": params}, x, positions, mask)
    assert {out.dtype, segment.keys.dtype, segment.values.dtype} == {jnp.dtype("bfloat16")}
    np.testing.assert_allclose(out.astype("f4")[mask], hidden(*inputs)[mask], atol=0.15)


def test_past_segments_are_as_good_as_earlier_tokens(params, hidden, inputs):
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


def test_rotary_angles_by_hand():
    # head width 4, base 100: frequencies 1 and 100^(-1/2) = 0.1
    angles = rotary_angles(jnp.array([0, 1, 20]), 4, 100.0)
    np.testing.assert_allclose(angles, [[0, 0], [1, 0.1], [20, 2]], rtol=1e-6)


def test_rotation_pairs_the_halves():
    x = jnp.array([1.0, 2.0, 0.0, 0.0]).reshape(1, 4)  # pairs (1, 0) and (2, 0)
    quarter_and_half_turn = jnp.array([jnp.pi / 2, jnp.pi])
    np.testing.assert_allclose(rotate(x, quarter_and_half_turn), [[0, -2, 1, 0]], atol=1e-6)


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

    segments = ((column(0), column(8)), (column(np.log(3)), column(4)))
    attended = jax.jit(attend)
    seen, hidden = np.ones((1, 1, 1, 1), bool), np.zeros((1, 1, 1, 1), bool)
    both = attended(column(2), segments, (seen, seen))
    np.testing.assert_allclose(both, column(5), rtol=1e-5)  # 8 / 4 + 4 * 3 / 4
    first = attended(column(2), segments, (seen, hidden))
    np.testing.assert_allclose(first, column(8), rtol=1e-6)
    assert np.isfinite(attended(column(2), segments, (hidden, hidden))).all()
