"""The optimiser of every stage: AdamW with a clipped gradient norm and a warm-up."""

import re
from collections.abc import Sequence

import jax
import optax
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from orl_jax.models.params import flatten


def learning_rate(config: ConfigDict, steps: int) -> optax.Schedule:
    """The schedule of a stage's section: linear warm-up, then cosine to a tenth or constant.

    Args:
      config: a stage's section, with `learning_rate`, `warmup_steps` and `schedule`.
      steps: of the whole stage.
    """
    warmup = min(config.warmup_steps, max(steps - 1, 0))
    if config.schedule == "constant":
        return optax.join_schedules(
            [
                optax.linear_schedule(0.0, config.learning_rate, warmup),
                optax.constant_schedule(config.learning_rate),
            ],
            [warmup],
        )
    return optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, warmup, max(steps, warmup + 1), 0.1 * config.learning_rate
    )


def make_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW under a schedule; see `learning_rate`.

    Args:
      config: a stage's section; reads `max_grad_norm`, `weight_decay` and, where present,
        `rates`: pairs (regex, factor) that scale the learning rate of parameters by their path.
    """
    parts = [
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.adamw(schedule, weight_decay=config.weight_decay),
    ]
    if config.get("rates"):
        parts.append(scale_by_path(config.rates))
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
