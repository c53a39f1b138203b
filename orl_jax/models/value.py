"""Scalars from hidden states: the score of an answer, the value of every state before a token.

The same backbone as the policy with a linear head on its last hidden state, as VLM-RLAIF's reward
and value models. A head is {"kernel": [D], "bias": []}.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vlm import VLM

Head = dict[str, Any]


def initial_head(width: int, key: PRNGKeyArray | None = None) -> Head:
    """Zeros, so that all values start at 0; with a key, a normal kernel of deviation width^-1/2."""
    kernel = jnp.zeros((width,)) if key is None else jax.random.normal(key, (width,)) * width**-0.5
    return {"kernel": kernel, "bias": jnp.zeros(())}


def token_values(
    model: VLM,
    params: dict[str, Any],
    head: Head,
    visual: Float[Array, "B N D"],
    prompt: Prompt,
    responses: Responses,
) -> Float[Array, "B G T"]:
    """The value of the state *before* each response token; float32."""
    hidden = model.apply({"params": params}, visual, prompt, responses, method=VLM.hidden_states)
    return _apply(head, hidden)


def response_scores(
    model: VLM,
    params: dict[str, Any],
    head: Head,
    visual: Float[Array, "B N D"],
    prompt: Prompt,
    responses: Responses,
) -> Float[Array, "B G"]:
    """The score of each response, read *after* its last token (the end token included); float32.

    Padding after a response has no effect.
    """
    one_more = [(0, 0), (0, 0), (0, 1)]  # since hidden states are those before a token
    ids, mask = (jnp.pad(array, one_more) for array in (responses.ids, responses.mask))
    values = token_values(model, params, head, visual, prompt, Responses(ids, mask))
    length = responses.mask.sum(axis=-1, dtype=jnp.int32)
    return jnp.take_along_axis(values, length[..., None], axis=-1)[..., 0]


def _apply(head: Head, hidden: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
    return hidden.astype(jnp.float32) @ head["kernel"].astype(jnp.float32) + head["bias"]
