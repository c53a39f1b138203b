"""The Q-Former against `transformers`, and its use as an adapter of videos."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from tiny_model import normal, random_params

from orl_jax.models.qformer import QFormer, QFormerAdapter

SIZES = {"queries": 3, "width": 8, "layers": 2, "heads": 2, "mlp_width": 12}


def make_adapter(**changes):
    return QFormerAdapter(**(SIZES | {"frames": 4, "language_width": 10} | changes))


def torch_qformer(kind, frequency, layers):
    """A `Blip2QFormerModel` or `InstructBlipQFormerModel` over features of width 6."""
    import transformers

    config = getattr(transformers, f"{kind}QFormerConfig")(
        vocab_size=11, hidden_size=8, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=12, cross_attention_frequency=frequency, encoder_hidden_size=6,
        layer_norm_eps=1e-2,
    )  # fmt: skip
    if kind == "Blip2":
        return transformers.Blip2QFormerModel(config)
    from transformers.models.instructblip import modeling_instructblip

    return modeling_instructblip.InstructBlipQFormerModel(config)


@pytest.mark.parametrize("kind", ["Blip2", "InstructBlip"])
@pytest.mark.parametrize(("frequency", "layers"), [(1, 2), (2, 4)])
def test_queries_are_those_of_transformers(kind, frequency, layers):
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    theirs = torch_qformer(kind, frequency, layers)
    state = torch_weights.randomised(theirs)
    queries, source = np.asarray(normal(3, 8)), np.asarray(normal(2, 5, 6, seed=1))
    with torch.no_grad():
        expected = theirs(
            input_ids=None,
            query_embeds=torch.tensor(queries)[None].expand(2, -1, -1),
            encoder_hidden_states=torch.tensor(source),
        ).last_hidden_state
    ours = QFormer(
        **(SIZES | {"layers": layers}), cross_frequency=frequency, remat=False, dtype="float32",
        norm_epsilon=1e-2,
    )  # fmt: skip
    params = torch_weights.qformer(state, queries, layers, frequency)
    assert float((expected[0] - expected[1]).abs().max()) > 0.01  # the source matters
    out = jax.jit(ours.apply)({"params": params}, source)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_an_adapter_without_additions_is_a_bare_qformer_and_two_linear_layers():
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    theirs = torch_qformer("Blip2", 1, 2)
    head = torch.nn.Sequential(torch.nn.Linear(8, 10), torch.nn.GELU(), torch.nn.Linear(10, 10))
    state, linear = torch_weights.randomised(theirs), torch_weights.randomised(head, scale=1.0)
    queries, features = np.asarray(normal(3, 8)), np.asarray(normal(2, 4, 5, 6, seed=1))
    with torch.no_grad():
        x = theirs(
            query_embeds=torch.tensor(queries)[None].expand(2, -1, -1),
            encoder_hidden_states=torch.tensor(features).flatten(1, 2),
        ).last_hidden_state
        expected = head(x)
    params = {
        "qformer": torch_weights.qformer(state, queries, 2, 1),
        "project_in": {"kernel": linear["0.weight"].T, "bias": linear["0.bias"]},
        "project_out": {"kernel": linear["2.weight"].T, "bias": linear["2.bias"]},
    }
    ours = make_adapter(
        cross_frequency=1, norm_epsilon=1e-2, time_embedding=False, feature_norm=False,
        exact_gelu=True,
    )  # fmt: skip
    shapes = jax.eval_shape(ours.init, jax.random.key(0), features)["params"]
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
    out = jax.jit(ours.apply)({"params": params}, features)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("additions", [True, False])
def test_half_precision_stays_half_and_is_near(additions):
    fields = {"time_embedding": additions, "feature_norm": additions}
    features = normal(2, 4, 5, 6)
    params = {"params": random_params(make_adapter(**fields), features)}
    expected = jax.jit(make_adapter(**fields, dtype="float32").apply)(params, features)
    out = jax.jit(make_adapter(**fields, dtype="bfloat16").apply)(params, features)
    assert (expected.dtype, out.dtype) == (jnp.float32, jnp.bfloat16)
    error = np.linalg.norm(out.astype("f4") - expected) / np.linalg.norm(expected)
    assert 1e-4 < error < 0.03
    inside = partial(make_adapter(**fields, dtype="bfloat16").apply, capture_intermediates=True)
    _, inside = jax.eval_shape(inside, params, features)
    assert {leaf.dtype for leaf in jax.tree.leaves(inside)} == {jnp.dtype("bfloat16")}


def test_only_the_time_embedding_tells_the_order_of_frames():
    model = make_adapter(cross_frequency=1)
    features = normal(2, 4, 5, 6)
    params = random_params(model, features)
    apply = jax.jit(lambda params, x: model.apply({"params": params}, x))
    out, reversed_ = apply(params, features), apply(params, features[:, ::-1])
    assert out.shape == (2, model.visual_tokens, 10)
    assert jnp.abs(out - reversed_).max() > 1e-3
    timeless = params | {"time_embedding": jnp.zeros_like(params["time_embedding"])}
    np.testing.assert_allclose(
        apply(timeless, features), apply(timeless, features[:, ::-1]), atol=1e-5
    )


def test_every_frame_and_patch_has_an_effect():
    model = make_adapter(cross_frequency=2)
    features = normal(1, 4, 2, 6)
    params = {"params": random_params(model, features)}
    gradient = jax.jit(jax.grad(lambda x: (model.apply(params, x) ** 2).sum()))(features)
    assert (jnp.abs(gradient).max(axis=-1) > 1e-6).all()


def test_remat_changes_nothing():
    features = normal(2, 4, 5, 6)
    params = {"params": random_params(make_adapter(), features)}

    def gradient(model):
        return jax.jit(
            jax.value_and_grad(lambda params: (model.apply(params, features) ** 2).sum())
        )(params)

    out, expected = gradient(make_adapter(remat=True)), gradient(make_adapter())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), out, expected)
