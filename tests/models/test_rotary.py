"""Rotary positions by hand, and their frequencies against `transformers`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orl_jax.models import rotary
from orl_jax.models.rotary import RotaryScaling, Rotation, rotary_angles, rotate, scale_frequencies
from orl_jax.run import rules as config_rules
from orl_jax.run.errors import UserError


def test_angles_by_hand():
    # head width 4, base 100: frequencies 1 and 100^(-1/2) = 0.1
    angles = rotary_angles(jnp.array([0, 1, 20]), 4, 100.0)
    np.testing.assert_allclose(angles, [[0, 0], [1, 0.1], [20, 2]], rtol=1e-6)


def test_scaled_angles_by_hand():
    # 8 tokens in 2π: frequency 1 makes 4/π = 1.27 turns, above 1.2; 0.1 makes 0.127, below 0.2
    scaling = RotaryScaling("llama3", 8.0, 0.2, 1.2, 8)
    angles = rotary_angles(jnp.array([40]), 4, 100.0, scaling)
    np.testing.assert_allclose(angles, [[40, 0.5]], rtol=1e-6)


def test_frequencies_in_between_are_interpolated_by_hand():
    # 1 turn in 10 tokens; halfway between 0.5 and 1.5: (1/2 / 4 + 1/2) of 2π / 10
    frequency = 2 * np.pi / 10
    out = scale_frequencies(jnp.array([frequency]), RotaryScaling("llama3", 4.0, 0.5, 1.5, 10))
    np.testing.assert_allclose(out, [0.625 * frequency], rtol=1e-6)


def test_linear_scaling_divides_positions():
    positions = jnp.array([0, 4, 12])
    out = rotary_angles(positions, 8, 100.0, RotaryScaling("linear", 4.0))
    np.testing.assert_allclose(out, rotary_angles(positions // 4, 8, 100.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "base", "theirs", "ours"),
    [
        ("default", 10_000.0, {}, RotaryScaling()),  # LLaMA-2
        ("linear", 10_000.0, {"factor": 4.0}, RotaryScaling("linear", 4.0)),  # Vicuna, 16k
        (  # Llama 3.2
            "llama3",
            500_000.0,
            {
                "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            RotaryScaling("llama3", 32.0, 1.0, 4.0, 8192),
        ),
    ],
)  # fmt: skip
def test_frequencies_of_released_models_are_those_of_transformers(kind, base, theirs, ours):
    pytest.importorskip("torch", reason="parity with transformers needs torch")
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=256, num_attention_heads=2, max_position_embeddings=131_072,
        rope_parameters={"rope_type": kind, "rope_theta": base, **theirs},
    )  # fmt: skip
    expected = LlamaRotaryEmbedding(config).inv_freq.numpy()
    out = rotary_angles(jnp.array([1]), 128, base, ours)[0]
    np.testing.assert_allclose(out, expected, rtol=3e-6)


def test_rotation_pairs_the_halves():
    x = jnp.array([1.0, 2.0, 0.0, 0.0]).reshape(1, 4)  # pairs (1, 0) and (2, 0)
    quarter_and_half_turn = jnp.array([jnp.pi / 2, jnp.pi])
    rotated = rotate(x, Rotation.by(quarter_and_half_turn))
    np.testing.assert_allclose(rotated, [[0, -2, 1, 0]], atol=1e-6)


def test_a_rotation_is_computed_once_for_all_its_uses():
    def both(first, second, angles):
        rotation = Rotation.by(angles)
        return rotate(first, rotation) + 1, rotate(second, rotation) - first

    x, angles = jnp.ones((3, 2, 8)), jnp.ones((3, 4))
    text = jax.jit(both).lower(x, x, angles).compile().as_text()
    assert text.count(" cosine(") == text.count(" sine(") == 1


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        (RotaryScaling("yarn"), "rope_scaling is 'yarn'; choose one of none, linear, llama3"),
        (RotaryScaling("llama3", 8.0, 4.0, 4.0), "rope_low_frequency is 4.0; it must be below"),
    ],
)
def test_an_invalid_scaling_is_refused(scaling, message):
    with pytest.raises(UserError, match=message):
        rotary_angles(jnp.array([1]), 4, 100.0, scaling)


def test_the_config_knows_the_scalings():
    rules = {rule.key: rule.names for rule in config_rules.RULES}
    assert rules["model.language.rope_scaling"] == rotary.SCALINGS
