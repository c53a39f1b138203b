"""The state of a training stage: one pytree, all of it saved, all of it needed to resume."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt32

from orl_jax.models.params import policy_of
from orl_jax.models.sequences import Responses
from orl_jax.models.sharding.layout import Layout

FINITE = "finite"  # among a step's metrics: whether the step was taken; it is not logged


class Ahead(NamedTuple):
    """Responses that were sampled before the last update (`oracle.lag`).

    Attributes:
      step: the step that trains on them; -1 is none.
      responses: with the sampler's log-probabilities.
      old_log_prob: of the policy that sampled them, in the training graph.
    """

    step: Int[Array, ""]
    responses: Responses
    old_log_prob: Float[Array, "B G T"]

    @classmethod
    def none(cls, *shape: int) -> "Ahead":
        """Zeros on the host for responses of the shape [B, G, T]."""
        numbers = np.zeros(shape, np.float32)
        responses = Responses(np.zeros(shape, np.int32), np.zeros(shape, np.bool_), numbers)
        return cls(np.asarray(-1, np.int32), responses, numbers)

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds; `Ahead.restored` undoes it."""
        sampled = {**self.responses._asdict(), "old_log_prob": self.old_log_prob}
        return {"sampled": sampled, "step": self.step}

    @classmethod
    def restored(cls, tree: dict[str, Any]) -> "Ahead":
        """From what `saved` gives."""
        sampled = dict(tree["sampled"])
        old = sampled.pop("old_log_prob")
        return cls(tree["step"], Responses(**sampled), old)


class TrainState(NamedTuple):
    """What an update step takes and returns.

    Attributes:
      step: number of updates done.
      trained: the nested parameters that this stage trains; the frozen ones travel next to the
        state. It may also hold `AUXILIARY` ones, which are not the model's own.
      reference: the frozen copy of `trained` that RL measures its drift from; empty in other
        stages.
      opt_state: of optax.
      key: raw data of the stage's random key. Every step folds its number in, so no key is used
        twice.
      ahead: of RL that samples ahead (`oracle.lag`); None in all other cases.
    """

    step: Int[Array, ""]
    trained: dict[str, Any]
    reference: dict[str, Any]
    opt_state: optax.OptState
    key: UInt32[Array, "2"]
    ahead: Ahead | None = None

    def saved(self) -> dict[str, Any]:
        """What a checkpoint holds; `TrainState.restored` undoes it."""
        tree = self._asdict()
        ahead = tree.pop("ahead")
        return tree if ahead is None else {**tree, "ahead": ahead.saved()}

    @classmethod
    def restored(cls, tree: dict[str, Any]) -> "TrainState":
        """From what `saved` gives."""
        if "ahead" in tree:
            tree = {**tree, "ahead": Ahead.restored(tree["ahead"])}
        return cls(**tree)

    def step_key(self) -> Array:
        """The fresh random key of this step."""
        return jax.random.fold_in(jax.random.wrap_key_data(self.key), self.step)


def start(
    trained: dict[str, Any],
    optimizer: optax.GradientTransformation,
    seed: int,
    layout: Layout | None = None,
    *,
    with_reference: bool = False,
) -> TrainState:
    """The state before the first update; the reference is a copy of the model's own parameters.

    Args:
      trained: on the devices of `layout`.
      layout: None is for parameters of any names on one device.
    """
    reference = jax.tree.map(jnp.copy, policy_of(trained)) if with_reference else {}
    step, key = np.zeros((), np.int32), np.asarray(jax.random.key_data(jax.random.key(seed)))
    if layout is None:
        moments = optimizer.init(trained)
        return TrainState(jnp.asarray(step), trained, reference, moments, jnp.asarray(key))
    where = layout.optimizer_state(optimizer, trained)
    moments = layout.jit(partial(optimizer.init), out_shardings=where)(trained)
    step, key = layout.replicate((step, key))
    return TrainState(step, trained, reference, moments, key)


def shardings(
    trained: dict[str, Any],
    optimizer: optax.GradientTransformation,
    layout: Layout,
    *,
    with_reference: bool = False,
) -> TrainState:
    """Where the leaves of what `start` returns live, without making them.

    An update leaves them there, so these are its output shardings.
    """
    own = jax.tree.map(lambda leaf: leaf.sharding, trained)
    reference = policy_of(own) if with_reference else {}
    moments = layout.optimizer_state(optimizer, trained)
    return TrainState(layout.whole, own, reference, moments, layout.whole)


def apply_gradients(
    state: TrainState, grads: dict[str, Any], optimizer: optax.GradientTransformation
) -> TrainState:
    """One update of `trained`; the caller counts the step, and says whether it counts (`checked`).

    A gradient that is not finite makes parameters that are not: AdamW has no other way.
    """
    with jax.named_scope("optimiser"):
        updates, opt_state = optimizer.update(grads, state.opt_state, state.trained)
        trained = optax.apply_updates(state.trained, updates)
    return state._replace(trained=trained, opt_state=opt_state)


def checked(
    before: TrainState, after: TrainState, metrics: dict[str, Array]
) -> tuple[TrainState, dict[str, Array]]:
    """The end of a step: its state, or the one before it where something is not finite.

    Args:
      before: the state that the step began with.
      after: the state with the step counted and all of its updates.
      metrics: with "loss".

    Returns:
      `after` if the loss and all its floating-point numbers are finite, otherwise `before`; and the
      metrics with `FINITE`, a bool that says which. No update is skipped in silence: whoever
      makes steps stops at the first that was not taken.
    """
    leaves = [leaf for leaf in jax.tree.leaves(after) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = jnp.isfinite(metrics["loss"])
    for leaf in leaves:
        finite &= jnp.isfinite(leaf).all()
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, before)
    return state, {**metrics, FINITE: finite}
