"""Quantised kernels: qwix's numbers, packed; models that hold them, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qwix
from flax.traverse_util import unflatten_dict
from tiny_model import make_llama, normal, random_params

from orl_jax.models.dense import Storage
from orl_jax.models.lora import LoRADense
from orl_jax.models.params import flatten, partition
from orl_jax.models.qformer import QFormerAdapter
from orl_jax.models.quantised import dequantise, quantise, quantise_like, quantised_matmul
from orl_jax.models.vision import ClipVision
from orl_jax.run.checkpoint import Checkpoints
from orl_jax.run.errors import UserError

# Appendix E of arXiv 2305.14314.
LEVELS = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
]  # fmt: skip


def test_nf4_by_hand():
    # Two blocks of two rows; the largest of a block is its scale. 0.17 / 2 = 0.085 is nearest to
    # 0.0796, the ninth level; the low half of a byte is the first row.
    kernel = jnp.array([[2.0], [0.17], [-0.5], [0.5]])
    stored = quantise(kernel, "nf4", 2)
    np.testing.assert_array_equal(stored["codes"], [[15 | 8 << 4], [0 | 15 << 4]])
    np.testing.assert_array_equal(stored["scales"], [[2.0], [0.5]])
    np.testing.assert_allclose(dequantise(**stored), [[2.0], [2 * LEVELS[8]], [-0.5], [0.5]])


def test_all_levels_of_nf4():
    stored = quantise(jnp.array(LEVELS)[:, None], "nf4", 16)
    np.testing.assert_allclose(dequantise(**stored)[:, 0], LEVELS, rtol=1e-7)
    assert stored["codes"].tolist() == [[even | (even + 1) << 4] for even in range(0, 16, 2)]


@pytest.mark.parametrize(("kind", "bound"), [("nf4", 0.16), ("int8", 1 / 254)])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_matches_qwix(kind, bound, lead):
    kernel = normal(*lead, 128, 6)
    stored = quantise(kernel, kind, 64)
    rows, axes = len(lead), [axis for axis in range(len(lead) + 2) if axis != len(lead)]
    theirs = qwix.quantize(
        kernel, "nf4" if kind == "nf4" else jnp.int8, channelwise_axes=axes, tiled_axes={rows: 64}
    )
    ours = dequantise(**stored)
    np.testing.assert_array_equal(ours, qwix.dequantize(theirs))
    blocks = np.abs(np.asarray(kernel - ours)).reshape(*lead, 2, 64, 6).max(axis=-2)
    largest = np.abs(np.asarray(kernel)).reshape(*lead, 2, 64, 6).max(axis=-2)
    assert (blocks <= bound * largest).all()  # half the widest gap between levels
    assert stored["codes"].nbytes == kernel.size // (2 if kind == "nf4" else 1)


def test_quantising_twice_changes_nothing():
    once = quantise(normal(64, 5), "nf4", 16)
    again = quantise(dequantise(**once), "nf4", 16)
    for name in ("codes", "scales"):
        np.testing.assert_array_equal(once[name], again[name])


@pytest.mark.parametrize(
    ("kind", "block", "words"),
    [("nf4", 48, "must divide the 64 rows"), ("fp4", 16, "choose one of"), ("int8", 0, "divide")],
)
def test_unknown_kinds_and_bad_blocks_are_refused(kind, block, words):
    with pytest.raises(UserError, match=words):
        quantise(jnp.ones((64, 2)), kind, block)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_quantised_layer_equals_one_with_the_dequantised_kernel(kind):
    x, layer = normal(3, 32), LoRADense(5, rank=2, storage=Storage(kind, 8))
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    params["lora_b"] = normal(2, 5)
    stored = {name: params.pop(name) for name in ("codes", "scales")}
    out = layer.apply({"params": params | stored}, x)
    plain = LoRADense(5, rank=2).apply({"params": params | {"kernel": dequantise(**stored)}}, x)
    np.testing.assert_allclose(out, plain, rtol=1e-6)
    deviation = float(dequantise(**stored).std())
    assert deviation == pytest.approx(32**-0.5, rel=0.2)  # initialised like any kernel


def test_the_gradient_is_that_of_the_dequantised_kernel():
    stored, x = quantise(normal(32, 5), "nf4", 8), normal(4, 32, seed=1)

    def loss(x):
        return (quantised_matmul(x, **stored) ** 2).sum()

    expected = jax.jit(jax.grad(lambda x: ((x @ dequantise(**stored)) ** 2).sum()))(x)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(x), expected, rtol=1e-5, atol=1e-5)


def test_the_backward_pass_keeps_no_kernel():
    stored, x = quantise(normal(32, 5), "nf4", 8), normal(4, 32, seed=1)
    kept = jax.make_jaxpr(lambda x: jax.vjp(lambda y: quantised_matmul(y, **stored), x))(x)
    shapes = [value.aval.shape for value in kept.jaxpr.outvars]
    assert (32, 5) not in shapes and shapes  # residuals of the backward pass


def test_a_quantised_model_takes_the_kernels_of_an_unquantised_one():
    inputs = (normal(1, 1, 4, 8), jnp.zeros((1, 1, 4), int), jnp.ones((1, 1, 4), bool))
    whole = random_params(make_llama(), *inputs)
    model = make_llama(quantisation="nf4", quantisation_block=4)
    shapes = flatten(jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"])
    params = quantise_like(flatten(whole), shapes)
    assert {path: value.shape for path, value in params.items()} == {
        path: shape.shape for path, shape in shapes.items()
    }
    for name in ("q", "down"):
        kernel = whole["layers"][name]["kernel"]
        stored = (params[f"layers/{name}/codes"], params[f"layers/{name}/scales"])
        for layer in range(2):
            expected = dequantise(**quantise(kernel[layer], "nf4", 4))
            np.testing.assert_array_equal(dequantise(*(x[layer] for x in stored)), expected)
    hidden = jax.jit(model.apply)({"params": unflatten_dict(params, sep="/")}, *inputs)[0]
    assert np.isfinite(hidden).all()


def test_codes_cannot_be_trained():
    params = {"q": {"codes": jnp.zeros((2, 2), jnp.uint8), "lora_a": jnp.zeros((2, 2))}}
    with pytest.raises(UserError, match="q/codes, which is quantised"):
        partition(params, ((".*", "train"),))
    partition(params, ((".*/lora_a", "train"), (".*", "freeze")))


def test_orbax_stores_codes_and_scales(tmp_path):
    stored = quantise(normal(32, 5), "nf4", 8) | {"int8": quantise(normal(32, 5), "int8", 8)}
    with Checkpoints(str(tmp_path), "sft") as checkpoints:
        checkpoints.save(1, {"trained": stored}, {})
        back = checkpoints.restore_part("trained")
    jax.tree.map(np.testing.assert_array_equal, back, stored)
    assert back["codes"].dtype == np.uint8


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_encoder_and_adapter_can_be_quantised(kind):
    how = {"quantisation": kind, "quantisation_block": 4}
    vision = ClipVision(8, 2, 2, 12, 4, 8, **how)
    adapter = QFormerAdapter(2, 8, 2, 2, 12, 2, 8, **how)
    features, images = normal(1, 2, 4, 8), normal(1, 8, 8, 3)
    for module, x in ((vision, images), (adapter, features)):
        out, variables = jax.jit(module.init_with_output)(jax.random.key(0), x)
        paths = flatten(variables["params"])
        assert np.isfinite(out).all()
        assert {path for path in paths if path.endswith("/kernel")} <= {"patch_embedding/kernel"}
        assert sum(path.endswith("/codes") for path in paths) >= 6
