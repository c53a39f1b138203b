"""What sharing a prompt saves in the prefill, the caches and the update.

A shared prompt is read once for its G responses, and its keys and values are held once. Without
sharing it is read and held G times. The gradients of the update are the same up to rounding; their
difference is measured along with the time.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from orl_jax.models.params import flatten
from orl_jax.models.sampler import begin
from orl_jax.performance.benchmark.repeated_prompt import RepeatedScorer
from orl_jax.performance.benchmark.text_model import TextModel
from orl_jax.performance.benchmark.timing import alternated, ratios
from orl_jax.rl.batch import RolloutBatch
from orl_jax.rl.estimators import Estimator
from orl_jax.rl.grpo_rank import GrpoRank
from orl_jax.rl.policy_loss import PolicyLossSettings
from orl_jax.rl.scorer import Scorer
from orl_jax.training.state import TrainState, start

PREFIXES, GROUP = (626, 1600), 5
UPDATE, RESPONSE = 800, 64  # P, R of the update
TOLERANCE = 1e-5  # between gradients in float32
_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class UpdateSettings:
    """Settings of the GRPO_rank update.

    Attributes:
      estimator, loss: of the advantages and the policy loss.
      temperature, vocabulary_chunk: see `Scorer`.
      updates: per rollout.
    """

    estimator: Estimator = Estimator()
    loss: PolicyLossSettings = PolicyLossSettings()
    temperature: float = 1.0
    vocabulary_chunk: int = 0
    updates: int = 1


def measure(
    model: TextModel,
    settings: UpdateSettings,
    repeats: int,
    progress: Callable[[Sequence[str]], Any] = iter,
) -> dict[str, Any]:
    """Rows of the prefill and of the update.

    Args:
      settings: of the update.
      progress: wraps the names of the rows.

    Example: `measure(model, UpdateSettings(), 5)["update"]["ratio"]["median"]`.
    """
    found: dict[str, Any] = {"prefill": []}
    for name in progress([*(f"prefill {length}" for length in PREFIXES), "update"]):
        if name == "update":
            found["update"] = update_row(model, settings, UPDATE, RESPONSE, GROUP, repeats)
        else:
            found["prefill"].append(prefill_row(model, int(name.split()[1]), GROUP, repeats))
    return found


def prefill_row(model: TextModel, prompt: int, group: int, repeats: int) -> dict[str, Any]:
    """A prompt read once and read `group` times: seconds, and the bytes of both caches."""
    one = model.batch(prompts=1, group=group, prompt=prompt, response=RESPONSE)
    many = model.batch(prompts=group, group=1, prompt=prompt, response=RESPONSE)
    run = jax.jit(model.prefill)
    calls = {
        "shared": partial(run, model.params, one),
        "repeated": partial(run, model.params, many),
    }
    times = alternated(calls, repeats)
    return {
        "prompt": prompt,
        "group": group,
        **{name: timing.to_dict() for name, timing in times.items()},
        "ratio": ratios(times["repeated"], times["shared"]).to_dict(),
        "cache_bytes": {"shared": _caches(model, one), "repeated": _caches(model, many)},
    }


def _caches(model: TextModel, batch: RolloutBatch) -> dict[str, int]:
    """Bytes of keys and values of the prompts and of the responses."""
    _, group, length = batch.responses.ids.shape
    prefix, state = jax.eval_shape(
        partial(
            begin, model.model, group_size=group, max_tokens=length, pad_id=0,
        ),
        model.params, batch.media, batch.prompt,
    )  # fmt: skip
    return {"prompts": _bytes(prefix.prompt), "answers": _bytes(state.cache)}


def _bytes(segment: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((segment.keys, segment.values)))


def update_row(
    model: TextModel,
    settings: UpdateSettings,
    prompt: int,
    response: int,
    group: int,
    repeats: int,
) -> dict[str, Any]:
    """The update with the prompt shared and repeated: seconds and gradients."""
    batch = model.batch(prompts=1, group=group, prompt=prompt, response=response)
    kinds = {"shared": Scorer, "repeated": RepeatedScorer}
    steps = {name: make_update(model, settings, kind) for name, kind in kinds.items()}
    state = initial_state(model)
    compiled = {
        name: jax.jit(step).lower(state, *_rest(model, batch)).compile()
        for name, step in steps.items()
    }
    calls = {name: partial(run, state, *_rest(model, batch)) for name, run in compiled.items()}
    grads = {name: gradient(call()[0]) for name, call in calls.items()}
    times = alternated(calls, repeats)
    temporary = {name: run.memory_analysis().temp_size_in_bytes for name, run in compiled.items()}
    return {
        "prompt": prompt,
        "response": response,
        "group": group,
        **{name: timing.to_dict() for name, timing in times.items()},
        "ratio": ratios(times["repeated"], times["shared"]).to_dict(),
        "temporary_bytes": temporary,
        "largest_gradient": largest(grads["shared"]),
        "largest_difference": largest(jax.tree.map(jnp.subtract, *grads.values())),
    }


def make_update(
    model: TextModel, settings: UpdateSettings, kind: type[Scorer]
) -> Callable[..., Any]:
    """The step with a kind of scorer; the optimiser's state keeps its gradient."""
    scorer = kind(model.model, settings.temperature, settings.vocabulary_chunk)
    return GrpoRank(scorer, settings.estimator, _optimizer(), settings.loss, settings.updates).step


def _optimizer() -> optax.GradientTransformation:
    return optax.chain(optax.trace(decay=0.0), optax.adamw(_RATE))


def initial_state(model: TextModel) -> TrainState:
    """The adapters, and a different policy as reference, so that the KL has a gradient."""
    state = start(model.split[0], _optimizer(), 0, with_reference=True)
    return state._replace(reference=jax.tree.map(lambda x: 0.9 * x, state.reference))


def _rest(model: TextModel, batch: RolloutBatch) -> tuple[Any, ...]:
    return model.split[1], model.banned, batch


def gradient(state: TrainState) -> dict[str, jax.Array]:
    """The gradient of the last update, by path."""
    return flatten(state.opt_state[0].trace)


def largest(tree: Any) -> float:
    """The largest absolute value in a tree."""
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
