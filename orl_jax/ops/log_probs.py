"""Log-probabilities and entropies of tokens, without a [..., T, V] array of logits.

With V = 32,000 the logits of a batch are by far its largest array (320 answers of 128 tokens: 5 GB
in float32, several times over in the backward pass). So positions are processed in chunks by a scan
whose body is rematerialised: forward and backward hold one [chunk_size, V] block. Chunks are of
positions rather than of the vocabulary because each softmax is then whole: entropy is exact with no
running maximum to carry.

`vocabulary_logits` and `masked_logits` are also what the sampler uses: rollout and loss share one
definition of the distribution (projection, temperature, banned tokens).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Finite, so that a padding token (banned, masked out of the loss) costs no NaN; far enough to be
# exactly 0 after the softmax, and its square is still a float32.
BANNED_LOGIT = -1e9


class TokenLogProbs(NamedTuple):
    """Of each token given those before it, in nats.

    `log_prob` of a banned token is about -1e9 (probability 0), never -inf.
    """

    log_prob: Float[Array, "*batch T"]
    entropy: Float[Array, "*batch T"]


def vocabulary_logits(
    hidden: Float[Array, "*batch D"], kernel: Float[Array, "D V"]
) -> Float[Array, "*batch V"]:
    """Logits in float32 (float64 for float64), accumulated there also for bfloat16 inputs."""
    dtype = jnp.float64 if hidden.dtype == jnp.float64 else jnp.float32
    return jnp.matmul(hidden, kernel, preferred_element_type=dtype)


def masked_logits(
    logits: Float[Array, "*batch V"],
    temperature: float | Float[Array, ""] = 1.0,
    banned: Bool[Array, " V"] | None = None,
) -> Float[Array, "*batch V"]:
    """Logits of the distribution that is sampled from: with temperature, without banned tokens.

    Args:
      logits: of the model.
      temperature: above 0; low is greedy.
      banned: true for tokens that must never be sampled (padding, media); they get `BANNED_LOGIT`,
        hence probability 0, and the others are renormalised by whatever softmax follows. Not all
        may be banned.

    Raises:
      ValueError: a temperature that is not above 0 (where it is a plain number).
    """
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0 (greedy is an argmax)")
    scaled = logits / temperature
    return scaled if banned is None else jnp.where(banned, BANNED_LOGIT, scaled)


def token_log_probs(
    hidden: Float[Array, "*batch T D"],
    kernel: Float[Array, "D V"],
    tokens: Int[Array, "*batch T"],
    *,
    temperature: float | Float[Array, ""] = 1.0,
    banned: Bool[Array, " V"] | None = None,
    chunk_size: int = 0,
) -> TokenLogProbs:
    """Log-probability of `tokens` under softmax(masked_logits(hidden @ kernel)), and its entropy.

    Args:
      hidden: states at the positions that predict `tokens` (already shifted by the caller).
      kernel: vocabulary projection, of the dtype of `hidden`.
      tokens: ids in [0, V).
      temperature, banned: see `masked_logits`.
      chunk_size: positions at a time, over all leading axes together; any size, the rest is padded.
        0 computes all at once.

    Raises:
      ValueError: negative chunk size; temperature not above 0.

    Example: `token_log_probs(x, w, ids, chunk_size=512).log_prob.shape == ids.shape`.
    """

    def of_chunk(chunk: tuple[Array, Array]) -> TokenLogProbs:
        logits = masked_logits(vocabulary_logits(chunk[0], kernel), temperature, banned)
        return _log_prob_and_entropy(logits, chunk[1])

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

    Over the whole vocabulary, so without the noise of `losses.kl_estimate`, at the price of a
    second projection; never negative but for rounding. The reference is a constant.

    Args, raises: see `token_log_probs`; both sides have the same temperature and banned tokens.

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
    """`function` of inputs [*shape, ...], `size` positions at a time; results are [*shape]."""
    if size < 0:
        raise ValueError(f"chunk_size is {size}; it must be 0 (no chunks) or more")
    count = math.prod(shape)
    if size == 0 or count == 0:
        return function(inputs)
    chunks = [_to_chunks(x.reshape(count, *x.shape[len(shape) :]), size) for x in inputs]
    body = jax.checkpoint(function, prevent_cse=False)  # inside a scan nothing can be merged anyway
    out = jax.lax.map(body, tuple(chunks))
    return jax.tree.map(lambda x: _from_chunks(x, count).reshape(shape), out)


def _log_prob_and_entropy(logits: Array, tokens: Array) -> TokenLogProbs:
    """log p(token) = z_token - log Z;  H = -sum_v p_v log p_v, where a banned p_v is exactly 0."""
    log_p = jax.nn.log_softmax(logits, axis=-1)
    log_prob = jnp.take_along_axis(log_p, tokens[..., None], axis=-1)[..., 0]
    return TokenLogProbs(log_prob, -jnp.sum(jnp.exp(log_p) * log_p, axis=-1))


def _to_chunks(x: Array, chunk_size: int) -> Array:
    """[N, ...] -> [chunks, chunk, ...], each chunk strided over all of N; zeros pad the end.

    Strided, not contiguous: where N is sharded over devices (it starts with the batch), every chunk
    then has positions of every device, and all of them work on every chunk.
    """
    chunks = -(-x.shape[0] // chunk_size)
    size = -(-x.shape[0] // chunks)
    x = jnp.pad(x, [(0, chunks * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(size, chunks, *x.shape[1:]).swapaxes(0, 1)


def _from_chunks(x: Array, length: int) -> Array:
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])[:length]
