"""The Q-Former against `transformers`, and its use as an adapter of videos."""

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


@pytest.mark.parametrize(("frequency", "layers"), [(1, 2), (2, 4)])
def test_queries_are_those_of_transformers(frequency, layers):
    torch = pytest.importorskip("torch", reason="parity with transformers needs torch")
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    config = Blip2QFormerConfig(
        hidden_size=8, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=12,
        cross_attention_frequency=frequency, encoder_hidden_size=6,
    )  # fmt: skip
    theirs = Blip2QFormerModel(config)
    state = torch_weights.randomised(theirs)
    rng = np.random.default_rng(0)
    queries, source = (rng.normal(size=shape).astype("f4") for shape in ((3, 8), (2, 5, 6)))
    with torch.no_grad():
        expected = theirs(
            query_embeds=torch.tensor(queries)[None].expand(2, -1, -1),
            encoder_hidden_states=torch.tensor(source),
        ).last_hidden_state
    ours = QFormer(
        **(SIZES | {"layers": layers}), cross_frequency=frequency, remat=False, dtype=jnp.float32
    )
    params = torch_weights.qformer(state, queries, layers, frequency)
    assert float((expected[0] - expected[1]).abs().max()) > 0.01  # the source matters
    out = jax.jit(ours.apply)({"params": params}, source)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_the_order_of_frames_is_seen_by_the_time_embedding_alone():
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


def test_every_frame_and_patch_is_read():
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
