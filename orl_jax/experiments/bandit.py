"""A tabular softmax bandit: what a form of advantage does when nothing else is in the way.

Every prompt has a fixed set of responses, each with a quality, and one logit per response. A step
samples a group of G responses from softmax(logits), lets an Oracle score their quality with noise,
turns scores and the policy's own order into advantages, and climbs the policy gradient. No network,
no tokens, no KL term and no clipping: whatever the policy learns, the advantages taught it.

The forms are compared fairly in one respect: their advantages are divided by their own
root-mean-square over the first rollout of the run, so that all of them start with steps of the same
size under the same learning rate. Afterwards each form has the size that it gives itself: that a
form fades when the policy's order is right (mix 1) is a property of it, and is not evened out.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from orl_jax.ops.advantages import linear_rank_advantages, rank_advantages, standardised_advantages
from orl_jax.ops.ranking import ranks

PROMPTS, RESPONSES, GROUP = 256, 12, 5
RATE = 1.0  # logits per unit of advantage
NOISES = (0.0, 0.3, 1.0)  # standard deviations; qualities are between 0 and 1
_INFORMED, _SPREAD = 2.35, 0.9  # of the start: expected quality 0.70, P(best) 0.19

Advantage = Callable[[Array, Array], Array]  # Oracle's scores, log-probabilities: [..., G] each


def _by_rank(**options: object) -> Advantage:
    return lambda scores, log_probs: rank_advantages(ranks(scores), ranks(log_probs), **options)


def _exchanged(scores: Array, log_probs: Array) -> Array:
    """`printed` with the true and the predicted rank swapped."""
    swapped = rank_advantages(ranks(log_probs), ranks(scores), form="printed", discount="printed")
    return jnp.where(jnp.all(scores == scores[..., :1], -1, keepdims=True), 0.0, swapped)


_OWN = _by_rank(mix=0.0)
_PRINTED = _by_rank(form="printed", discount="printed")
FORMS: dict[str, Advantage] = {
    "printed": _PRINTED,
    "signed, mix 0": _by_rank(mix=0.0),
    "signed, mix 0.25": _by_rank(mix=0.25),
    "signed, mix 0.5": _by_rank(mix=0.5),
    "signed, mix 1": _by_rank(mix=1.0),
    "linear in rank": lambda scores, _: linear_rank_advantages(ranks(scores)),
    "z-score": lambda scores, _: standardised_advantages(scores),
}
# Other readings of the printed form, each one edit away from it, and a control without an Oracle.
READINGS: dict[str, Advantage] = {
    "printed, D = 1/((1+x) log2(2+x))": _by_rank(form="printed", discount="product"),
    "printed, negated": lambda scores, log_probs: -_PRINTED(scores, log_probs),
    "printed, ranks exchanged": _exchanged,
    "printed, Oracle's rank 0 = worst": lambda scores, log_probs: _PRINTED(-scores, log_probs),
    "no Oracle: the policy's own order": lambda _, log_probs: _OWN(log_probs, log_probs),
}


class Problem(NamedTuple):
    """Where a run starts and all that is random in it: B prompts, R responses, G sampled a step."""

    quality: Float[np.ndarray, "*S B R"]
    logits: Float[np.ndarray, "*S B R"]
    uniform: Float[np.ndarray, "*S steps B G"]  # what the policy samples by
    normal: Float[np.ndarray, "*S steps B R"]  # the Oracle's noise, not yet scaled


class History(NamedTuple):
    """Means over the prompts, before the first step and after each: [steps + 1] or [S, steps + 1].

    Attributes:
      quality: expected quality of a response.
      best: probability of the best response, or of all that share the best quality.
      entropy: of the policy, nats.
      zero_sum: largest |sum of a group's advantages| of the step; 0 before the first.
    """

    quality: Float[Array, "*S steps"]
    best: Float[Array, "*S steps"]
    entropy: Float[Array, "*S steps"]
    zero_sum: Float[Array, "*S steps"]


def problem(
    seed: int, *, two_levels: bool = False, steps: int = 200, prompts: int = PROMPTS
) -> Problem:
    """A policy that knows a little: logits are 2.35 x the spaced quality + 0.9 x a standard normal.

    Args:
      seed: fixes start and draws; with `two_levels` only the qualities differ.
      two_levels: the better half of the responses has quality 1, the others 0; else the qualities
        are evenly spaced from 0 to 1.

    Returns:
      float32 arrays without the axis S.

    Example: `problem(0).quality[0, -1] == 1.0`.
    """
    random = np.random.default_rng(seed)  # numpy's: jax's takes far longer to compile than to run
    spaced = np.broadcast_to(np.linspace(0, 1, RESPONSES, dtype=np.float32), (prompts, RESPONSES))
    logits = _INFORMED * spaced + _SPREAD * random.standard_normal(spaced.shape, np.float32)
    uniform = random.random((steps, prompts, GROUP), np.float32)
    normal = random.standard_normal((steps, prompts, RESPONSES), np.float32)
    quality = (spaced > 0.5).astype(np.float32) if two_levels else spaced
    return Problem(quality, logits, uniform, normal)


def train(
    seeds: Sequence[int],
    noise: ArrayLike,
    *,
    form: str,
    two_levels: bool = False,
    steps: int = 200,
    rate: ArrayLike = RATE,
    prompts: int = PROMPTS,
) -> History:
    """Climbs the policy gradient from one start per seed.

    A seed fixes the start and the draws, whatever the form and the noise: forms are compared in
    pairs.

    Args:
      seeds: integers.
      noise: standard deviation of the Gaussian that the Oracle adds to a quality, drawn afresh for
        each response and step. Identical responses of a group share it, so they are ties. With
        `two_levels` the Oracle only says whether the sum is above 1/2: right or wrong.
      form: a name of `FORMS` or `READINGS`.
      rate: step on the logits along the gradient of mean_i A_i log p_i, per prompt, after A is
        divided by its root-mean-square over the first rollout.

    Raises:
      KeyError: unknown form.

    Example: `train(range(3), 0.0, form="printed").quality[:, -1]` is below 0.6.
    """
    made = [problem(seed, two_levels=two_levels, steps=steps, prompts=prompts) for seed in seeds]
    problems = Problem(*map(np.stack, zip(*made, strict=True)))
    return _climb_all(problems, noise, two_levels, rate, form=form)


@functools.partial(jax.jit, static_argnames="form")
def _climb_all(
    problems: Problem, noise: ArrayLike, two_levels: ArrayLike, rate: ArrayLike, *, form: str
) -> History:
    advantage = (FORMS | READINGS)[form]

    def one(given: Problem) -> History:
        rollout = functools.partial(_rollout, advantage, given.quality, noise, two_levels)
        return _climb(given, rollout, rate)

    return jax.vmap(one)(problems)


def _climb(given: Problem, rollout: Callable, rate: ArrayLike) -> History:
    first = rollout(given.logits, (given.uniform[0], given.normal[0]))[1]
    size = jnp.sqrt(jnp.mean(first**2))

    def step(logits: Array, draws: tuple[Array, Array]) -> tuple[Array, History]:
        actions, advantages = rollout(logits, draws)
        logits = logits + rate * jax.grad(_surrogate)(logits, actions, advantages / size)
        return logits, _measure(given.quality, logits, advantages)

    _, later = jax.lax.scan(step, given.logits, (given.uniform, given.normal))
    before = _measure(given.quality, given.logits, jnp.zeros_like(first))
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), before, later)


def _rollout(
    advantage: Advantage,
    quality: Array,
    noise: ArrayLike,
    two_levels: ArrayLike,
    logits: Array,
    draws: tuple[Array, Array],
) -> tuple[Array, Array]:
    """Sampled responses, int32 [B, G], and their advantages [B, G]."""
    uniform, normal = draws
    actions = _sample(logits, uniform)
    # Noise per response, not per sample: the same answer is judged the same.
    judged = quality + noise * normal
    judged = jnp.where(two_levels, jnp.where(judged > 0.5, 1.0, 0.0), judged)
    scores = jnp.take_along_axis(judged, actions, axis=-1)
    return actions, advantage(scores, _chosen(logits, actions))


def _sample(logits: Array, uniform: Array) -> Array:
    """Responses [B, G] by inversion of the cumulative distribution."""
    below = jnp.cumsum(jax.nn.softmax(logits), axis=-1)[:, None, :-1]
    return jnp.sum(uniform[..., None] >= below, axis=-1, dtype=jnp.int32)


def _surrogate(logits: Array, actions: Array, advantages: Array) -> Array:
    return jnp.sum(jnp.mean(advantages * _chosen(logits, actions), axis=-1))


def _chosen(logits: Array, actions: Array) -> Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions, axis=-1)


def _measure(quality: Array, logits: Array, advantages: Array) -> History:
    log_probs = jax.nn.log_softmax(logits)
    probs = jnp.exp(log_probs)
    best = quality == jnp.max(quality, axis=-1, keepdims=True)
    sums = [jnp.sum(probs * value, axis=-1) for value in (quality, best, -log_probs)]
    return History(*map(jnp.mean, sums), jnp.max(jnp.abs(jnp.sum(advantages, axis=-1))))
