"""One gradient from micro-batches: what stages sum up over parts of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from orl_jax.models.sharding.constrain import constrain
from orl_jax.models.sharding.mesh import BATCH

Loss = Callable[[dict[str, Any], Any], tuple[Array, tuple]]


def accumulated(
    loss: Loss, trained: dict[str, Any], parts: Any
) -> tuple[dict[str, Any], dict[str, Array], tuple]:
    """The gradient of a whole batch's loss and its metrics, added up over micro-batches.

    The loss is traced once, however many micro-batches there are.

    Args:
      loss: (trained, part) -> (the part's share of the loss, (its shares of the metrics, …)).
      trained: parameters.
      parts: arrays [micro-batches, rows of one, ...], see `strided`.

    Returns:
      The gradient, the metrics, and what else the loss gave of each part, [micro-batches, ...].
      Metrics add up, but of "ratio/max" it is the largest.
    """
    gradient = jax.value_and_grad(loss, has_aux=True)

    def add(total: Any, part: Any) -> tuple[Any, tuple]:
        (_, found), grads = gradient(trained, part)
        return jax.tree.map(jnp.add, total, grads), found

    # Inside of PPO's two loops, a third one of a single turn would compile three times as long.
    unroll = jax.tree.leaves(parts)[0].shape[0] == 1
    zeros = jax.tree.map(jnp.zeros_like, trained)
    grads, found = jax.lax.scan(add, zeros, parts, unroll=unroll)
    shares, *seen = found
    metrics = {name: share.sum(axis=0) for name, share in shares.items()}
    return grads, metrics | _largest(shares), tuple(seen)


def over_minibatches(metrics: dict[str, Array]) -> dict[str, Array]:
    """Metrics [minibatches] of one pass to their means; of "ratio/max" the largest."""
    return {name: values.mean() for name, values in metrics.items()} | _largest(metrics)


def _largest(metrics: dict[str, Array]) -> dict[str, Array]:
    name = "ratio/max"
    return {name: metrics[name].max(axis=0)} if name in metrics else {}


def strided(x: Array, size: int) -> Array:
    """[B, ...] -> [B / size, size, ...]; part p holds the rows p, p + B / size, ...

    Example: `strided(jnp.arange(6), 2)` is [[0, 3], [1, 4], [2, 5]].
    """
    parts = x.reshape(size, -1, *x.shape[1:]).swapaxes(0, 1)
    return constrain(parts, None, BATCH, *(None,) * (x.ndim - 1))
