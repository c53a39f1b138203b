"""Scores and values: where they are read, and what affects them."""

import jax
import jax.numpy as jnp
import numpy as np
from tiny_model import make_params, make_prompts, make_responses, make_vlm, normal, plain_hidden

from orl_jax.models.value import initial_head, response_scores, token_values

HEAD = {"kernel": normal(8, seed=3), "bias": jnp.float32(0.5)}


def of(function, responses, head=HEAD):
    params = make_params()  # made here: made inside the trace, tracers would be cached
    compiled = jax.jit(lambda *x: function(make_vlm(), params, head, *x))
    return compiled(*make_prompts(), responses)


def test_values_are_those_of_the_states_before_the_tokens():
    responses = make_responses()
    hidden = plain_hidden(make_vlm(), make_params(), make_prompts(), responses)
    expected = np.asarray(hidden @ HEAD["kernel"] + 0.5)
    inside = np.asarray(responses.mask)
    np.testing.assert_allclose(of(token_values, responses)[inside], expected[inside], atol=1e-4)


def test_a_score_is_read_after_the_last_token():
    responses = make_responses()
    # One more token, whichever it is: the state before it is the state after the response.
    longer = responses._replace(
        ids=jnp.pad(responses.ids, [(0, 0), (0, 0), (0, 1)], constant_values=5),
        mask=jnp.pad(responses.mask, [(0, 0), (0, 0), (0, 1)]),
    )
    values = of(token_values, longer)
    length = np.asarray(responses.mask.sum(axis=-1))
    expected = np.take_along_axis(np.asarray(values), length[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(of(response_scores, responses), expected, atol=1e-5)


def test_padding_after_a_response_has_no_effect():
    responses = make_responses()
    other = responses._replace(ids=jnp.where(responses.mask, responses.ids, 9))
    assert (other.ids != responses.ids).any()
    before, after = of(response_scores, responses), of(response_scores, other)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_the_last_token_affects_the_score():
    responses = make_responses()
    last = responses.mask & ~jnp.pad(responses.mask[..., 1:], [(0, 0), (0, 0), (0, 1)])
    other = responses._replace(ids=jnp.where(last, 6, responses.ids))
    before, after = of(response_scores, responses), of(response_scores, other)
    assert (jnp.abs(after - before) > 1e-4).all()


def test_a_fresh_head_gives_zero():
    assert (of(response_scores, make_responses(), initial_head(8)) == 0).all()
    assert initial_head(8, jax.random.key(0))["kernel"].any()
