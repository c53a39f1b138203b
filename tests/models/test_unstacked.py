"""Layers one by one, and adapters merged: the same numbers as stacked and apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import (
    BANNED,
    END,
    PAD,
    make_params,
    make_prompts,
    make_responses,
    make_vlm,
    plain_hidden,
)  # fmt: skip

from orl_jax.models.params import flatten
from orl_jax.models.sampler import ready, sample
from orl_jax.models.unstacked import merged, turned, unstacked
from orl_jax.models.vlm import VLM

UNROLLED = make_vlm(unroll=2)


@pytest.fixture(scope="module")
def batch():
    return make_prompts(), make_responses()


def hidden(model, params, batch):
    prompts, responses = batch
    return model.apply({"params": params}, *prompts, responses, method=VLM.hidden_states)


def test_hidden_states_are_those_of_the_plain_forward(batch):
    """Also of the prompt's last token, though its last layer reads nothing else."""
    model, params = unstacked(UNROLLED, make_params())
    assert {"layer_0", "layer_1"} < set(params["language"])
    assert "layers" not in params["language"]
    found = jax.jit(hidden, static_argnums=0)(model, params, batch)
    plain = plain_hidden(make_vlm(), make_params(), *batch)
    answered = batch[1].mask
    np.testing.assert_allclose(found[answered], plain[answered], atol=2e-5)


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_reach_the_stacked_parameters(batch, remat):
    def loss(model, change, params):
        def of(params):
            mask = batch[1].mask[..., None]
            return (hidden(*change(model, params), batch) ** 2 * mask).sum()

        return jax.jit(jax.grad(of))(params)

    params = make_params()
    stacked = loss(make_vlm(), lambda *both: both, params)
    apart = loss(make_vlm(unroll=2, remat=remat), unstacked, params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), apart, stacked
    )


def test_a_merged_model_is_the_adapted_one(batch):
    model, params = merged(make_vlm(), make_params())
    assert not [path for path in flatten(params) if "lora" in path]
    plain = hidden(make_vlm(), make_params(), batch)
    np.testing.assert_allclose(hidden(model, params, batch), plain, atol=2e-5)


def test_a_turned_model_is_the_same(batch):
    model, params = turned(*unstacked(*merged(UNROLLED, make_params())))
    layer, before = params["language"]["layer_1"], make_params()["language"]["layers"]
    assert layer["down"]["turned"].shape == before["down"]["kernel"].shape[:0:-1]
    assert set(layer["down"]) == {"turned"} and set(layer["mlp_norm"]) == {"scale"}
    plain = hidden(make_vlm(), make_params(), batch)
    np.testing.assert_allclose(hidden(model, params, batch), plain, atol=2e-5)


def test_what_they_do_not_fit_is_left_alone():
    """Layers in a loop; adapters on kernels that are rounded, in storage or in the arithmetic."""
    params, rounded = make_params(), jax.tree.map(jnp.bfloat16, make_params())
    for change, model, given in (
        (unstacked, make_vlm(), params),
        (merged, make_vlm(lora_rank=0), params),
        (merged, make_vlm(), rounded),
        (merged, make_vlm(dtype=jnp.bfloat16), params),
        (turned, make_vlm(lora_rank=0), params),
        (turned, UNROLLED.clone(language=UNROLLED.language.clone(stacked=False)), params),
    ):
        found = change(model, given)
        assert found[0] is model
        assert found[1] is given


def test_neither_is_done_twice():
    model, params = ready(UNROLLED, make_params())
    again = ready(model, params)
    assert again[0] is model
    assert again[1] is params


def test_samples_the_same(batch):
    """As the model in a loop does, which is not unstacked."""
    settings = {
        "group_size": 3, "max_tokens": 5, "temperature": 1.0, "end_id": END, "pad_id": PAD,
    }  # fmt: skip
    key = jax.random.key(3)
    drawn = [
        jax.jit(
            lambda params, model=model: sample(model, params, *batch[0], BANNED, key, **settings)
        )(make_params())
        for model in (make_vlm(), UNROLLED)
    ]
    np.testing.assert_array_equal(drawn[0].ids, drawn[1].ids)
    np.testing.assert_allclose(drawn[0].log_prob, drawn[1].log_prob, atol=2e-5)


def test_no_kernel_is_sliced_or_copied_inside_the_loop_over_tokens(batch):
    """What the form is for: a step reads each kernel where it lies."""

    def draw(params):
        return sample(
            UNROLLED, params, *batch[0], BANNED, jax.random.key(0), group_size=2, max_tokens=4,
            temperature=1.0, end_id=END, pad_id=PAD,
        )  # fmt: skip

    jaxpr = jax.make_jaxpr(draw)(make_params()).jaxpr
    (loop,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "while"]
    body = loop.params["body_jaxpr"].jaxpr
    kernels = {(8, 8), (4, 8), (8, 12), (12, 8)}
    stacks = [
        var.aval.shape
        for var in body.invars
        if var.aval.ndim == 3 and var.aval.shape[1:] in kernels
    ]
    assert not stacks
    assert sum(var.aval.shape in kernels for var in body.invars) >= 14
