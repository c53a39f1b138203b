"""Sampling: prefill once per prompt, then G responses from one shared prefix in a compiled loop.

The loop is one `while_loop` that stops when every response has ended. The prompt's keys and values
are stored once and attended to by the whole group; only the responses' own cache grows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, Shaped

from orl_jax.models.decoding_form import decoding_form
from orl_jax.models.llama import Segment
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.sharding.constrain import constrain
from orl_jax.models.sharding.mesh import BATCH
from orl_jax.models.vlm import VLM
from orl_jax.ops.log_probs import masked_logits, vocabulary_logits
from orl_jax.ops.truncation import WHOLE, Truncation


class Prefix(NamedTuple):
    """What every decoding step reads: the prompts, their lengths, the projection to logits."""

    prompt: Segment
    length: Int[Array, " B"]
    kernel: Float[Array, "D V"]


class LoopState(NamedTuple):
    """What one decoding step passes to the next; `cache` holds the responses' keys and values."""

    step: Int[Array, ""]
    hidden: Float[Array, "B G D"]
    cache: Segment
    responses: Responses
    done: Bool[Array, "B G"]


def sample(
    model: VLM,
    params: dict,
    visual: Float[Array, "B N D"],
    prompt: Prompt,
    banned: Bool[Array, " V"],
    key: PRNGKeyArray | Key[Array, " B"],
    *,
    group_size: int,
    max_tokens: int,
    temperature: float,
    end_id: int,
    pad_id: int,
    truncation: Truncation = WHOLE,
    greedy: int = 0,
) -> Responses:
    """Draws `group_size` responses of at most `max_tokens` tokens for every prompt.

    Args:
      model, params: see `VLM`.
      visual: visual tokens of the videos.
      prompt: the prompts.
      banned: tokens that are never sampled.
      key: a fresh one for every call, or the noise repeats. With one key per prompt, [B], a
        response does not depend on the other prompts of the batch.
      temperature: 0 takes the most likely token; log-probabilities are then at temperature 1.
      end_id, pad_id: the end-of-sequence token, and the filler after it.
      truncation: of what is drawn; log-probabilities are of the truncated distribution.
      greedy: the first `greedy` responses of each group are drawn as at temperature 0.

    Pure; jit it with everything after `key` static.

    Example: `sample(model, params, visual, prompt, banned, jax.random.key(0), group_size=5,
      max_tokens=10, temperature=1.0, end_id=2, pad_id=0).ids.shape == (B, 5, 10)`.
    """
    model, params = decoding_form(model, params)
    prefix, state = begin(
        model, params, visual, prompt, group_size=group_size, max_tokens=max_tokens, pad_id=pad_id
    )

    def unfinished(state: LoopState) -> Array:
        return (state.step < max_tokens) & ~state.done.all()

    def step(state: LoopState) -> LoopState:
        return decode_token(
            model, params, banned, key, prefix, state,
            temperature=temperature, end_id=end_id, pad_id=pad_id, truncation=truncation,
            greedy=greedy,
        )  # fmt: skip

    return jax.lax.while_loop(unfinished, step, state).responses


def begin(
    model: VLM,
    params: dict,
    visual: Float[Array, "B N D"],
    prompt: Prompt,
    *,
    group_size: int,
    max_tokens: int,
    pad_id: int,
) -> tuple[Prefix, LoopState]:
    """Reads the prompts and allocates the responses: everything in `sample` before its loop.

    See `sample` for the arguments; `params` may be in any form, see `decoding_form`.
    """
    apply = _applier(model, params)
    hidden, read = apply(VLM.prefill, visual, prompt)
    kernel = apply(VLM.vocabulary_kernel)
    prefix = Prefix(read, read.mask.sum(axis=-1), kernel)
    return prefix, _start(hidden, read, group_size, max_tokens, pad_id)


def decode_token(
    model: VLM,
    params: dict,
    banned: Bool[Array, " V"],
    key: PRNGKeyArray | Key[Array, " B"],
    prefix: Prefix,
    state: LoopState,
    *,
    temperature: float,
    end_id: int,
    pad_id: int,
    truncation: Truncation = WHOLE,
    greedy: int = 0,
) -> LoopState:
    """Draws one token for every response: the body of `sample`'s loop, and a step of `stream`.

    See `sample` for the arguments.
    """
    with jax.named_scope("vocabulary"):
        logits = vocabulary_logits(state.hidden, prefix.kernel)
        fold = jax.random.fold_in
        noise = jax.vmap(fold, (0, None))(key, state.step) if key.ndim else fold(key, state.step)
        likely = _choose(logits[:, :greedy], banned, noise, 0.0)
        drawn = _choose(logits[:, greedy:], banned, noise, temperature, truncation)
        token, log_prob = jax.tree.map(lambda *both: jnp.concatenate(both, axis=1), likely, drawn)
    token = jnp.where(state.done, pad_id, token)
    responses = _record(state, token, log_prob)
    position = jnp.broadcast_to(prefix.length + state.step, token.shape)
    past = (prefix.prompt, state.cache)
    hidden, cache = _applier(model, params)(VLM.decode, token, position, past, state.step)
    done = state.done | (token == end_id)
    return LoopState(state.step + 1, hidden, cache, responses, done)


def _applier(model: VLM, params: dict) -> Callable[..., Any]:
    def apply(method: Callable[..., Any], *args: Any) -> Any:
        return model.apply({"params": params}, *args, method=method)

    return apply


def _start(
    hidden: Float[Array, "B D"], prompt: Segment, group_size: int, max_tokens: int, pad_id: int
) -> LoopState:
    """The state before the first token, with an empty cache."""
    shape = (len(hidden), group_size, max_tokens)

    def empty(past: Shaped[Array, "*layers B C g _ _"], tokens: int) -> Array:
        size = list(past.shape)
        size[-3], size[tokens] = group_size, max_tokens
        layers = (None,) * (past.ndim - 5)
        zeros = jnp.zeros(size, past.dtype)
        return constrain(zeros, *layers, BATCH, "tensor", None, None, None)

    keys = jax.tree.map(lambda past: empty(past, -1), prompt.keys)
    values = jax.tree.map(lambda past: empty(past, -2), prompt.values)
    responses = Responses(
        jnp.full(shape, pad_id, jnp.int32), jnp.zeros(shape, bool), jnp.zeros(shape, jnp.float32)
    )
    return LoopState(
        step=jnp.zeros((), jnp.int32),
        hidden=jnp.broadcast_to(hidden[:, None], (*shape[:2], hidden.shape[-1])),
        cache=Segment(keys, values, jnp.zeros(shape, bool)),
        responses=responses,
        done=jnp.zeros(shape[:2], bool),
    )


def _choose(
    logits: Float[Array, "B G V"],
    banned: Bool[Array, " V"],
    key: PRNGKeyArray | Key[Array, " B"],
    temperature: float,
    truncation: Truncation = WHOLE,
) -> tuple[Int[Array, "B G"], Float[Array, "B G"]]:
    """A token for each row of logits, and its log-probability."""
    allowed = masked_logits(logits, temperature or 1.0, banned, truncation)
    if temperature == 0:
        token = jnp.argmax(allowed, axis=-1)
    else:
        draw = jax.vmap(jax.random.categorical) if key.ndim else jax.random.categorical
        token = draw(key, allowed)
    log_prob = jax.nn.log_softmax(allowed)
    return token, jnp.take_along_axis(log_prob, token[..., None], axis=-1)[..., 0]


def _record(state: LoopState, token: Int[Array, "B G"], log_prob: Float[Array, "B G"]) -> Responses:
    """The responses with one more token; ended ones stay as they are."""
    alive = ~state.done
    ids, mask, log_probs = state.responses
    at = (slice(None), slice(None), state.step)
    return Responses(
        ids.at[at].set(token),
        mask.at[at].set(alive),
        log_probs.at[at].set(jnp.where(alive, log_prob, 0.0)),
    )
