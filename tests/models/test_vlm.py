"""The whole model: visual tokens in the prompt, and three forward passes that must agree."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import (
    FRAMES,
    IMAGE,
    make_params,
    make_prompts,
    make_responses,
    make_vlm,
    normal,
    plain_hidden,
)

from orl_jax.models.llama import Segment
from orl_jax.models.sequences import Responses
from orl_jax.models.vlm import VLM


@pytest.fixture(scope="module")
def hidden():
    """The compiled `hidden_states`: visual tokens, prompt, responses."""
    model, params = make_vlm(), make_params()
    return jax.jit(partial(model.apply, {"params": params}, method=VLM.hidden_states))


def test_visual_tokens_take_the_places_of_image_ids_in_order():
    ids = jnp.array([[3, IMAGE, IMAGE, 4], [IMAGE, 5, 4, IMAGE]])
    visual = normal(2, 2, 8)
    params = make_params()
    embed = jax.jit(partial(make_vlm().apply, method=VLM.embed_prompt))
    out = np.asarray(embed({"params": params}, visual, ids))
    embedding = params["language"]["embedding"]
    np.testing.assert_array_equal(out[0, [1, 2]], visual[0])
    np.testing.assert_array_equal(out[1, [0, 3]], visual[1])
    np.testing.assert_array_equal(out[0, [0, 3]], embedding[np.array([3, 4])])
    np.testing.assert_array_equal(out[1, [1, 2]], embedding[np.array([5, 4])])


def test_a_shared_prompt_equals_a_full_forward_of_each_response(hidden):
    prompts, responses = make_prompts(), make_responses()
    out = hidden(*prompts, responses)
    expected = jax.jit(partial(plain_hidden, make_vlm()))(make_params(), prompts, responses)
    assert out.shape == (3, 2, 4, 8)
    np.testing.assert_allclose(out[responses.mask], expected[responses.mask], atol=1e-5)


def test_gradients_through_the_shared_prompt_add_up_over_the_group():
    model, prompts, responses = make_vlm(), make_prompts(), make_responses()

    def shared(params, visual):
        return model.apply(
            {"params": params}, visual, prompts.prompt, responses, method=VLM.hidden_states
        )

    def separate(params, visual):
        return plain_hidden(model, params, prompts._replace(visual=visual), responses)

    def gradient(forward):
        def loss(params, visual):
            weight = jnp.cos(jnp.arange(8.0)) * responses.mask[..., None]
            return (forward(params, visual) * weight).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(make_params(), prompts.visual)

    out, expected = gradient(shared), gradient(separate)
    assert jnp.abs(expected[1]).max() > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=5e-4), out, expected)


def test_decoding_step_by_step_is_the_full_forward(hidden):
    prompts, responses = make_prompts(), make_responses()
    responses = Responses(responses.ids, jnp.ones_like(responses.mask))

    def decode(model):
        last, prompt = model.prefill(*prompts)
        states = [jnp.broadcast_to(last[:, None], (3, 2, 8))]
        keys, values = prompt.keys[..., :3], prompt.values[..., :3, :]  # room for three tokens
        # Places without a token are masked, whatever they hold.
        past = Segment(*(x.repeat(2, axis=3) for x in (keys, values)), jnp.zeros((3, 2, 3), bool))
        for step in range(3):
            position = jnp.broadcast_to(prompts.prompt.mask.sum(axis=1)[:, None] + step, (3, 2))
            tokens = responses.ids[..., step]
            state, past = model.decode(tokens, position, (prompt, past), jnp.int32(step))
            states.append(state)
        return jnp.stack(states, axis=2)

    out = jax.jit(partial(make_vlm().apply, method=decode))({"params": make_params()})
    np.testing.assert_allclose(out, hidden(*prompts, responses), atol=3e-5)


def test_later_response_tokens_do_not_affect_earlier_ones(hidden):
    prompts, responses = make_prompts(), make_responses()
    everywhere = jnp.ones_like(responses.mask)
    out = hidden(*prompts, Responses(responses.ids, everywhere))
    changed = hidden(*prompts, Responses(responses.ids.at[:, :, 1].set(12), everywhere))
    # the state at place t predicts token t: it has read the tokens before t only
    np.testing.assert_allclose(out[:, :, :2], changed[:, :, :2], atol=1e-6)
    assert jnp.abs(out[:, :, 2:] - changed[:, :, 2:]).max(axis=-1).min() > 1e-4


def test_a_masked_response_token_does_not_affect_others(hidden):
    prompts, responses = make_prompts(), make_responses()
    assert not responses.mask.all()
    other = jnp.where(responses.mask, responses.ids, 11)
    changed = hidden(*prompts, responses._replace(ids=other))
    out = hidden(*prompts, responses)
    np.testing.assert_allclose(out[responses.mask], changed[responses.mask], atol=1e-6)


def test_more_left_padding_has_no_effect(hidden):
    prompts, responses = make_prompts(), make_responses()
    padded = jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (2, 0))), prompts.prompt)
    out, expected = hidden(prompts.visual, padded, responses), hidden(*prompts, responses)
    np.testing.assert_allclose(out[responses.mask], expected[responses.mask], atol=1e-5)


def test_a_response_of_one_token_is_predicted_by_the_prompt(hidden):
    prompts, responses = make_prompts(), make_responses()
    out = hidden(*prompts, jax.tree.map(lambda x: x[..., :1], responses))
    np.testing.assert_allclose(out, hidden(*prompts, responses)[:, :, :1], atol=1e-6)


def test_a_video_affects_only_the_responses_to_its_own_prompt(hidden):
    prompts, responses = make_prompts(), make_responses()
    changed = prompts._replace(visual=prompts.visual.at[1, 1].add(1.0))
    change = jnp.abs(hidden(*prompts, responses) - hidden(*changed, responses)).max(axis=-1)
    assert change[1].min() > 1e-4
    assert change[jnp.array([0, 2])].max() < 1e-6


def test_frames_are_encoded_one_by_one_and_kept_in_order():
    rng = np.random.default_rng(0)
    frames = jnp.asarray(rng.integers(0, 256, (2, FRAMES, 8, 8, 3)), jnp.uint8)
    model, params = make_vlm(), {"params": make_params()}
    encode = jax.jit(partial(model.apply, params, method=VLM.encode))
    features = encode(frames)
    assert features.shape == (2, FRAMES, 4, 8)
    np.testing.assert_allclose(encode(frames[:, ::-1]), features[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(encode(frames[::-1]), features[::-1], atol=1e-5)


def test_a_bfloat16_language_model_reads_float32_visual_tokens():
    """The adapter may stay in float32: its tokens take the language model's dtype."""
    model, prompts = make_vlm(dtype="bfloat16"), make_prompts()
    prefill = jax.jit(partial(model.apply, {"params": make_params()}, method=VLM.prefill))
    last, segment = prefill(*prompts)
    half, _ = prefill(prompts.visual.astype(jnp.bfloat16), prompts.prompt)
    assert {last.dtype, segment.values.dtype} == {jnp.dtype("bfloat16")}
    np.testing.assert_array_equal(last, half)
