"""Unrolled layers, and the form for decoding: the same numbers as a loop over the given kernels."""

from functools import partial

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
)

from orl_jax.models.decoding_form import decoding_form
from orl_jax.models.layers import split_layers
from orl_jax.models.params import flatten
from orl_jax.models.sampler import sample
from orl_jax.models.vlm import VLM

UNROLLED = make_vlm(unroll=2)


@pytest.fixture(scope="module")
def batch():
    return make_prompts(), make_responses()


@partial(jax.jit, static_argnums=0)
def hidden(model, params, batch):
    prompts, responses = batch
    return model.apply({"params": params}, *prompts, responses, method=VLM.hidden_states)


def test_unrolled_hidden_states_are_those_of_the_plain_forward(batch):
    """Also that of the prompt's last token, the only one that the last layer computes."""
    found = hidden(UNROLLED, make_params(), batch)
    plain = plain_hidden(make_vlm(), make_params(), *batch)
    answered = batch[1].mask
    np.testing.assert_allclose(found[answered], plain[answered], atol=2e-5)


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_through_unrolled_layers_reach_the_stacked_parameters(batch, remat):
    def gradient(model, params):
        def loss(params):
            mask = batch[1].mask[..., None]
            return (hidden(model, params, batch) ** 2 * mask).sum()

        return jax.jit(jax.grad(loss))(params)

    stacked = gradient(make_vlm(), make_params())
    unrolled = gradient(make_vlm(unroll=2, remat=remat), make_params())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), unrolled, stacked
    )


def test_fresh_parameters_do_not_depend_on_unrolling():
    prompts, frames = make_prompts(1), jnp.zeros((1, 2, 8, 8, 3), jnp.uint8)
    drawn = [
        jax.jit(model.init)(jax.random.key(0), frames, prompts.prompt)
        for model in (make_vlm(), UNROLLED)
    ]
    jax.tree.map(np.testing.assert_array_equal, *drawn)


def test_only_what_is_read_is_computed(batch):
    """The last layer of the prompt takes one token through the MLP, the first takes all."""
    jaxpr = str(jax.make_jaxpr(lambda params: hidden(UNROLLED, params, batch))(make_params()))
    assert "f32[3,1,6,12]" in jaxpr and "f32[3,1,1,12]" in jaxpr


def test_a_model_in_a_loop_gets_its_adapters_merged(batch):
    model, params = decoding_form(make_vlm(), make_params())
    assert not [path for path in flatten(params) if "lora" in path]
    assert params["language"]["layers"]["q"]["kernel"].shape == (2, 8, 8)
    plain = hidden(make_vlm(), make_params(), batch)
    np.testing.assert_allclose(hidden(model, params, batch), plain, atol=2e-5)


def test_an_unrolled_model_gets_split_layers_and_transposed_kernels_too(batch):
    model, params = decoding_form(UNROLLED, make_params())
    layers, before = params["language"]["layers"], make_params()["language"]["layers"]
    assert set(layers) == {"0", "1"}
    assert layers["1"]["down"]["transposed"].shape == before["down"]["kernel"].shape[:0:-1]
    assert set(layers["1"]["down"]) == {"transposed"} and set(layers["1"]["mlp_norm"]) == {"scale"}
    plain = hidden(make_vlm(), make_params(), batch)
    np.testing.assert_allclose(hidden(model, params, batch), plain, atol=2e-5)


@pytest.mark.parametrize("rounded", ["parameters", "arithmetic"])
def test_adapters_on_rounded_kernels_are_not_merged(rounded):
    params, dtype = make_params(), "float32"
    if rounded == "parameters":
        params = jax.tree.map(jnp.bfloat16, params)
    else:
        dtype = "bfloat16"
    for unroll in (1, 2):
        model = make_vlm(unroll=unroll, dtype=dtype)
        found, changed = decoding_form(model, params)
        assert found is model
        if unroll == 1:
            assert changed is params
        else:
            split = split_layers(params["language"]["layers"], 2)
            jax.tree.map(np.testing.assert_array_equal, changed["language"]["layers"], split)
            assert set(changed["language"]["layers"]["0"]["q"]) == {"kernel", "lora_a", "lora_b"}


def test_nothing_to_prepare_returns_the_same_objects():
    params = make_params()
    for model, given in ((make_vlm(lora_rank=0), params), decoding_form(UNROLLED, params)):
        found = decoding_form(model, given)
        assert found[0] is model
        assert found[1] is given


def test_samples_the_same(batch):
    """The same tokens as the model in a loop."""
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
    """The purpose of the form: a step reads each kernel in place."""

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
