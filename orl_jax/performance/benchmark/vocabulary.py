"""Memory of log-probabilities and their loss at large vocabularies: compiled, never run.

With chunks the peak must not grow with the number of positions: it is one chunk of logits, in the
few copies that a softmax and its gradient need. Without chunks it grows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from orl_jax.ops.log_probs import token_log_probs

VOCABULARIES, CHUNKS = (32_000, 128_000), (4, 16)  # tokens; chunks of positions
_FLOAT = 4  # bytes; logits are float32


def measure(
    width: int, chunk: int, progress: Callable[[Sequence[Any]], Any] = iter
) -> list[dict[str, Any]]:
    """A row for each vocabulary and number of positions, with and without chunks.

    Args:
      width: of the hidden states.
      chunk: positions per chunk.
      progress: wraps the cases.

    Example: `measure(512, 512)[0]["chunks"]` is the number of chunks of logits alive at the peak.
    """
    cases = [
        (vocabulary, chunks * chunk, size)
        for vocabulary in VOCABULARIES
        for chunks in CHUNKS
        for size in (chunk, 0)
    ]
    return [row(width, *case) for case in progress(cases)]


def row(width: int, vocabulary: int, positions: int, chunk: int) -> dict[str, Any]:
    """Peak bytes of temporaries of a loss and its gradient with respect to the states.

    Args:
      chunk: positions per chunk; 0 means no chunks.

    Example: `row(64, 1000, 128, 32)["temporary_bytes"]`.
    """
    shape = jax.ShapeDtypeStruct
    args = (
        shape((positions, width), jnp.float32),
        shape((width, vocabulary), jnp.float32),
        shape((positions,), jnp.int32),
    )

    def loss(hidden: jax.Array, kernel: jax.Array, tokens: jax.Array) -> jax.Array:
        found = token_log_probs(hidden, kernel, tokens, chunk_size=chunk)
        return (found.log_prob - 0.01 * found.entropy).mean()

    compiled = jax.jit(jax.value_and_grad(loss)).lower(*args).compile()
    size = compiled.memory_analysis().temp_size_in_bytes
    return {
        "vocabulary": vocabulary,
        "positions": positions,
        "chunk": chunk,
        "temporary_bytes": size,
        "chunks": size / ((chunk or positions) * vocabulary * _FLOAT),
    }
