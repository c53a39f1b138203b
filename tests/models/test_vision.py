"""The CLIP encoder against `transformers`, its shapes, and what must not change it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from tiny_model import normal, random_params

from orl_jax.models.params import flatten
from orl_jax.models.vision import ACTIVATIONS, ClipVision, normalise, quick_gelu
from orl_jax.run import rules as config_rules
from orl_jax.run.errors import UserError

SIZES = {
    "width": 12, "layers": 3, "heads": 3, "mlp_width": 20, "patch_size": 4, "image_size": 12,
}  # fmt: skip


def images(count=2):
    return normal(count, 12, 12, 3)


@pytest.mark.parametrize(
    ("select_layer", "activation", "epsilon"),
    [(-2, "quick_gelu", 1e-5), (-1, "quick_gelu", 1e-2), (-2, "gelu", 1e-5)],
)
def test_features_are_those_of_transformers(select_layer, activation, epsilon):
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    from transformers import CLIPVisionConfig, CLIPVisionModel

    settings = CLIPVisionConfig(
        hidden_size=12, intermediate_size=20, num_hidden_layers=3, num_attention_heads=3,
        image_size=12, patch_size=4, hidden_act=activation, layer_norm_eps=epsilon,
    )  # fmt: skip
    theirs = CLIPVisionModel(settings)
    params = torch_weights.vision(torch_weights.randomised(theirs), 4 + select_layer)
    x = np.asarray(images())
    with torch.no_grad():
        out = theirs(torch.tensor(x.transpose(0, 3, 1, 2)), output_hidden_states=True)
    expected = out.hidden_states[select_layer][:, 1:]  # without the class token
    model = ClipVision(
        **SIZES, select_layer=select_layer, activation=activation, norm_epsilon=epsilon
    )
    ours = jax.jit(model.apply)({"params": params}, x)
    assert float(expected.abs().mean()) > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_parameters_are_those_of_the_layers_up_to_the_selected_one():
    shapes = jax.eval_shape(ClipVision(**SIZES).init, jax.random.key(0), images())["params"]
    shapes = {path: value.shape for path, value in flatten(shapes).items()}
    assert shapes["patch_embedding/kernel"] == (4 * 4 * 3, 12)
    assert shapes["position_embedding"] == (9 + 1, 12)
    stacked = {shape[0] for path, shape in shapes.items() if path.startswith("layers/")}
    assert stacked == {2}  # of three layers, the last is not built


def test_normalised_by_hand():
    frames = jnp.array([[[[0, 255, 128]]]], jnp.uint8)
    # -0.48145466 / 0.26862954, (1 - 0.4578275) / 0.26130258, (128 / 255 - 0.40821073) / 0.27577711
    expected = [[[[-1.792263, 2.074885, 0.339941]]]]
    np.testing.assert_allclose(jax.jit(normalise)(frames), expected, atol=1e-5)


def test_quick_gelu_by_hand():
    x = jnp.array([-1.0, 0.0, 1.0])
    # sigmoid(1.702) = 0.845796
    np.testing.assert_allclose(quick_gelu(x), [-0.154204, 0.0, 0.845796], atol=1e-5)


def test_gelu_is_the_exact_one():
    # 1/2 (1 + erf(1 / sqrt 2)) = 0.8413447; the tanh approximation has 0.8411920
    np.testing.assert_allclose(ACTIVATIONS["gelu"](jnp.array([1.0])), [0.8413447], atol=1e-6)


def test_an_unknown_activation_is_refused():
    with pytest.raises(UserError, match="'relu'; choose one of quick_gelu, gelu"):
        ClipVision(**SIZES, activation="relu").init(jax.random.key(0), images())
    names = {rule.key: rule.names for rule in config_rules.RULES}["model.vision.activation"]
    assert names == tuple(ACTIVATIONS)


def test_half_precision_stays_half_and_is_near():
    x = images()
    params = {"params": random_params(ClipVision(**SIZES), x)}
    expected = jax.jit(ClipVision(**SIZES, dtype="float32").apply)(params, x)
    out = jax.jit(ClipVision(**SIZES, dtype="bfloat16").apply)(params, x)
    assert (expected.dtype, out.dtype) == (jnp.float32, jnp.bfloat16)
    error = np.linalg.norm(out.astype("f4") - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 0.02


def test_images_do_not_affect_each_other():
    model, x = ClipVision(**SIZES), images(3)
    params = random_params(model, x)
    apply = jax.jit(lambda x: model.apply({"params": params}, x))
    out, changed = apply(x), apply(x.at[1].set(0.0))
    assert out.shape == (3, model.patches, 12)
    np.testing.assert_allclose(out[::2], changed[::2], atol=1e-6)
    assert jnp.abs(out[1] - changed[1]).max() > 0.01


def test_scan_and_remat_change_nothing():
    x = images()
    params = random_params(ClipVision(**SIZES), x)

    def gradient(model):
        return jax.jit(jax.value_and_grad(lambda p: (model.apply({"params": p}, x) ** 2).sum()))

    expected = gradient(ClipVision(**SIZES))(params)
    out = gradient(ClipVision(**SIZES, unroll=2, remat=True))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), out, expected)
