"""The optimiser of every stage: AdamW with a clipped gradient norm and a warm-up."""

import dataclasses
import functools
import re
from collections.abc import Sequence

import jax
import optax
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from orl_jax.models.params import flatten


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """What a stage's optimiser is made from.

    Attributes:
      learning_rate: at the end of the warm-up.
      warmup_steps: updates of a linear warm-up from 0.
      schedule: after the warm-up: "cosine", to a tenth | "constant".
      weight_decay: of AdamW.
      beta1, beta2: of AdamW: decay of the running means of gradients and of their squares.
      max_grad_norm: gradients with a larger norm are scaled down to it.
      rates: pairs (regex, factor) that scale the learning rate of parameters by their path.
    """

    learning_rate: float
    warmup_steps: int = 0
    schedule: str = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    rates: tuple[tuple[str, float], ...] = ()
    beta1: float = 0.9
    beta2: float = 0.999

    @classmethod
    def of(cls, section: ConfigDict) -> "OptimizerSettings":
        """Of a stage's section."""
        return cls(
            learning_rate=section.learning_rate,
            warmup_steps=section.warmup_steps,
            schedule=section.schedule,
            weight_decay=section.weight_decay,
            max_grad_norm=section.max_grad_norm,
            rates=tuple((regex, factor) for regex, factor in section.rates),
            beta1=section.beta1,
            beta2=section.beta2,
        )


def make_schedule(settings: OptimizerSettings, updates: int) -> optax.Schedule:
    """The learning rate by update: linear warm-up, then cosine to a tenth or constant.

    Args:
      settings: of the stage.
      updates: of the whole stage; a warm-up that is longer is cut.

    Example: `make_schedule(OptimizerSettings(1e-3, warmup_steps=10), 100)(10)` is 1e-3.
    """
    warmup = min(settings.warmup_steps, max(updates - 1, 0))
    if settings.schedule == "constant":
        return _constant(settings.learning_rate, warmup)
    return _cosine(settings.learning_rate, warmup, max(updates, warmup + 1))


# Equal numbers give one object, so that a step jitted with it is found again.
@functools.cache
def _constant(peak: float, warmup: int) -> optax.Schedule:
    return optax.join_schedules(
        [optax.linear_schedule(0.0, peak, warmup), optax.constant_schedule(peak)], [warmup]
    )


@functools.cache
def _cosine(peak: float, warmup: int, updates: int) -> optax.Schedule:
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, updates, 0.1 * peak)


@functools.cache
def make_optimizer(
    settings: OptimizerSettings, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """AdamW under a schedule; see `make_schedule`."""
    parts = [
        optax.clip_by_global_norm(settings.max_grad_norm),
        optax.adamw(schedule, settings.beta1, settings.beta2, weight_decay=settings.weight_decay),
    ]
    if settings.rates:
        parts.append(scale_by_path(settings.rates))
    return optax.chain(*parts)


def scale_by_path(rates: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Multiplies updates by the factor of the first regex that matches the whole path, else by 1.

    Example: `scale_by_path((("adapter/.*", 0.1),))` slows a pretrained adapter down.
    """

    def scale(path: str, update: jax.Array) -> jax.Array:
        factors = (factor for regex, factor in rates if re.fullmatch(regex, path))
        return update * next(factors, 1.0)

    def of_tree(updates: dict, _: dict | None) -> dict:
        flat = {path: scale(path, update) for path, update in flatten(updates).items()}
        return unflatten_dict(flat, sep="/")

    return optax.stateless(of_tree)
