"""Log-probabilities and entropies of tokens, without a [..., T, V] array of logits.

With V = 32,000 the logits are by far the largest array of a batch (320 responses of 128 tokens:
5 GB in float32, and several times that in the backward pass). A scan with a rematerialised body
therefore processes positions in chunks: forward and backward hold one [chunk_size, V] block.
Chunking positions rather than the vocabulary keeps every softmax whole, so the entropy is exact and
no running maximum is carried.

The sampler also uses `vocabulary_logits` and `masked_logits`: rollout and loss share one definition
of the distribution (projection, temperature, banned tokens, truncation).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from orl_jax.ops.truncation import WHOLE, Truncation

# Finite, so that a padding token (banned, masked out of the loss) causes no NaN; low enough to be
# exactly 0 after the softmax, and its square does not overflow float32.
BANNED_LOGIT = -1e9


class TokenLogProbs(NamedTuple):
    """Per token, conditioned on the tokens before it; in nats.

    `log_prob` of a banned token is about -1e9 (probability 0), never -inf.
    """

    log_prob: Float[Array, "*batch T"]
    entropy: Float[Array, "*batch T"]


def vocabulary_logits(
    hidden: Float[Array, "*batch D"], kernel: Float[Array, "D V"]
) -> Float[Array, "*batch V"]:
    """hidden @ kernel in float32 (float64 for float64 inputs).

    bfloat16 inputs are also accumulated in float32.

    Example: `vocabulary_logits(jnp.ones((2, 4)), jnp.ones((4, 9))).shape` is (2, 9).
    """
    dtype = jnp.float64 if hidden.dtype == jnp.float64 else jnp.float32
    return jnp.matmul(hidden, kernel, preferred_element_type=dtype)


def masked_logits(
    logits: Float[Array, "*batch V"],
    temperature: float | Float[Array, ""] = 1.0,
    banned: Bool[Array, " V"] | None = None,
    truncation: Truncation = WHOLE,
    tokens: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch V"]:
    """Logits of the distribution to sample from: logits / temperature, without banned tokens.

    Args:
      logits: the model's.
      temperature: above 0; close to 0 is nearly greedy.
      banned: true for tokens that must never be sampled (padding, media). They get `BANNED_LOGIT`
        and hence probability 0; the softmax that follows renormalises the others. At least one
        token must be allowed.
      truncation: the tokens that it leaves out get `BANNED_LOGIT`, too.
      tokens: sampled ones, which are kept; see `Truncation.kept`.

    Raises:
      ValueError: a temperature that is not above 0 (checked only for a Python number).

    Example: `masked_logits(jnp.array([1.0, 2.0]), 0.5, jnp.array([True, False]))` is [-1e9, 4].
    """
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0 (greedy is an argmax)")
    scaled = logits / temperature
    if banned is not None:
        scaled = jnp.where(banned, BANNED_LOGIT, scaled)
    if not truncation:
        return scaled
    kept = truncation.kept(jax.lax.stop_gradient(scaled), tokens)
    return jnp.where(kept, scaled, BANNED_LOGIT)


def token_log_probs(
    hidden: Float[Array, "*batch T D"],
    kernel: Float[Array, "D V"],
    tokens: Int[Array, "*batch T"],
    *,
    temperature: float | Float[Array, ""] = 1.0,
    banned: Bool[Array, " V"] | None = None,
    truncation: Truncation = WHOLE,
    chunk_size: int = 0,
) -> TokenLogProbs:
    """Log-probability of `tokens` under softmax(masked_logits(hidden @ kernel)), and its entropy.

    Args:
      hidden: states at the positions that predict `tokens` (the caller has shifted them).
      kernel: vocabulary projection, with the dtype of `hidden`.
      tokens: ids in [0, V).
      temperature, banned, truncation: see `masked_logits`; `tokens` are always kept.
      chunk_size: positions per chunk, counted over all leading axes; it need not divide their
        number. 0 computes all positions at once.

    Raises:
      ValueError: negative chunk size; temperature not above 0.

    Example: `token_log_probs(x, w, ids, chunk_size=512).log_prob.shape == ids.shape`.
    """

    def of_chunk(chunk: tuple[Array, Array]) -> TokenLogProbs:
        states, ids = chunk
        logits = vocabulary_logits(states, kernel)
        logits = masked_logits(logits, temperature, banned, truncation, ids)
        return _log_prob_and_entropy(logits, ids)

    return _in_chunks(of_chunk, (hidden, tokens), tokens.shape, chunk_size)


def exact_kl(
    hidden: Float[Array, "*batch T D"],
    kernel: Float[Array, "D V"],
    ref_hidden: Float[Array, "*batch T D"],
    ref_kernel: Float[Array, "D V"],
    *,
    temperature: float | Float[Array, ""] = 1.0,
    banned: Bool[Array, " V"] | None = None,
    chunk_size: int = 0,
) -> Float[Array, "*batch T"]:
    """KL(pi || pi_ref) = sum_v p_v (log p_v - log q_v) of every next-token distribution, in nats.

    Of whole distributions: truncated ones need not have the same tokens.

    Summed over the whole vocabulary: no sampling noise, unlike `losses.kl_estimate`, at the price
    of a second projection. Non-negative up to rounding. The reference is a constant: no gradient
    flows into it.

    Args, raises: see `token_log_probs`; temperature and banned tokens are the same on both sides.

    Example: `exact_kl(x, w, x, w)` is 0 everywhere.
    """

    def of_chunk(chunk: tuple[Array, Array]) -> Array:
        log_p, log_q = (
            jax.nn.log_softmax(masked_logits(vocabulary_logits(x, w), temperature, banned))
            for x, w in zip(chunk, (kernel, jax.lax.stop_gradient(ref_kernel)), strict=True)
        )
        return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)

    states = (hidden, jax.lax.stop_gradient(ref_hidden))
    return _in_chunks(of_chunk, states, hidden.shape[:-1], chunk_size)


@jax.named_scope("vocabulary")
def _in_chunks(
    function: Callable[[Any], Any], inputs: tuple[Array, ...], shape: tuple[int, ...], size: int
) -> Any:
    """Applies `function` to inputs [*shape, ...], `size` positions at a time; returns [*shape]."""
    if size < 0:
        raise ValueError(f"chunk_size is {size}; it must be 0 (no chunks) or more")
    count = math.prod(shape)
    if size == 0 or count == 0:
        return function(inputs)
    chunks = [_to_chunks(x.reshape(count, *x.shape[len(shape) :]), size) for x in inputs]
    body = jax.checkpoint(function, prevent_cse=False)  # a scan already rules out merging
    out = jax.lax.map(body, tuple(chunks))
    return jax.tree.map(lambda x: _from_chunks(x, count).reshape(shape), out)


def _log_prob_and_entropy(logits: Array, tokens: Array) -> TokenLogProbs:
    """log p(token) = z_token - log Z;  H = -sum_v p_v log p_v, where a banned p_v is exactly 0."""
    log_p = jax.nn.log_softmax(logits, axis=-1)
    log_prob = jnp.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]
    return TokenLogProbs(log_prob, -jnp.sum(jnp.exp(log_p) * log_p, axis=-1))


def _to_chunks(x: Array, chunk_size: int) -> Array:
    """[N, ...] -> [chunks, chunk, ...], each chunk strided over all of N; zeros pad the end.

    Strided, not contiguous: where N is sharded over devices (its leading axis is the batch), every
    chunk then has positions on every device, and all devices work on every chunk.
    """
    chunks = -(-x.shape[0] // chunk_size)
    size = -(-x.shape[0] // chunks)
    x = jnp.pad(x, [(0, chunks * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(size, chunks, *x.shape[1:]).swapaxes(0, 1)


def _from_chunks(x: Array, length: int) -> Array:
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])[:length]
