"""Answers to a batch of questions, as pure functions of arrays; `Evaluator` jits them.

see       frames of the batch's distinct videos -> visual tokens of every question
generate  greedy and sampled answers
weigh     log-probabilities of given answers
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32

from orl_jax.models.decoding_form import decoding_form
from orl_jax.models.sampler import sample
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vlm import VLM
from orl_jax.ops.log_probs import token_log_probs
from orl_jax.ops.truncation import WHOLE, Truncation


def see(
    model: VLM, params: dict[str, Any], frames: UInt8[Array, "U F H W 3"], rows: Int[Array, " B"]
) -> Float[Array, "B N D"]:
    """Visual tokens of every question; each video is encoded once.

    Args:
      frames: of the distinct videos.
      rows: the video of each question, an index into `frames`.
    """
    return model.apply({"params": params}, frames, method=VLM.see)[rows]


def generate(
    model: VLM,
    params: dict[str, Any],
    visual: Float[Array, "B N D"],
    prompt: Prompt,
    numbers: UInt32[Array, " B"],
    banned: Bool[Array, " V"],
    *,
    seed: int,
    samples: int,
    temperature: float,
    max_tokens: int,
    end_id: int,
    pad_id: int,
    truncation: Truncation = WHOLE,
) -> tuple[Int[Array, "B 1 T"], Int[Array, "B samples T"]]:
    """Greedy and sampled ids; samples depend only on the prompt and its number."""
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    keys = fold(jax.random.key(seed), numbers)
    ids = sample(
        model, params, visual, prompt, banned, keys,
        group_size=1 + samples, max_tokens=max_tokens, temperature=temperature,
        end_id=end_id, pad_id=pad_id, truncation=truncation, greedy=1,
    ).ids  # fmt: skip
    return ids[:, :1], ids[:, 1:]


def weigh(
    model: VLM,
    params: dict[str, Any],
    visual: Float[Array, "B N D"],
    prompt: Prompt,
    banned: Bool[Array, " V"],
    answers: Responses,
    *,
    chunk_size: int,
) -> Float[Array, "B C"]:
    """Log-probability of each of C given answers, in nats, summed over its tokens."""
    model, params = decoding_form(model, params)
    apply = partial(model.apply, {"params": params})
    hidden = apply(visual, prompt, answers, method=VLM.hidden_states)
    kernel = apply(method=VLM.vocabulary_kernel)
    found = token_log_probs(hidden, kernel, answers.ids, banned=banned, chunk_size=chunk_size)
    return jnp.sum(jnp.where(answers.mask, found.log_prob, 0.0), axis=-1)
