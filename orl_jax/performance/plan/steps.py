"""The jitted functions of a config with the shapes that a run gives them, and what else is alive.

`DevicePolicy`, `sft.train` and `Evaluator` need weights, data and a tokenizer before they jit
anything; here the same functions get shapes. Whole steps are programs that a run compiles; parts
are pieces of one, compiled separately to show what they need. In the order of a run:

    initialise  draws all parameters at random, where nothing is imported
    quantise    quantises a checkpoint's largest kernel while the others are in memory
    sft         one update of the stage "sft"
    encode      frames to media
    rollout     prompts to sampled answers: prefill, then up to T times decode
    validate    greedy and sampled answers to `evaluation.batch_size` items
    update      the update of `config.rl.algorithm`; score is one policy's log-probabilities in it
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from orl_jax.evaluation.answering import generate, see
from orl_jax.evaluation.evaluator import decoding
from orl_jax.evaluation.settings import EvaluationSettings
from orl_jax.models import assembly as assemblies
from orl_jax.models import sampler
from orl_jax.models.params import flatten
from orl_jax.models.quantised import quantise_stack
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.performance.plan.run_shapes import RunShapes
from orl_jax.performance.plan.shapes import Shapes
from orl_jax.rl import device_policy
from orl_jax.rl.algorithms import updates_per_step
from orl_jax.training import sft
from orl_jax.training.optimizer import OptimizerSettings, make_schedule

ROWS = ("rl.batch_size", "rl.micro_batch", "sft.batch_size", "evaluation.batch_size")


@dataclasses.dataclass(frozen=True)
class Step:
    """A function to compile.

    Attributes:
      name: see the module docstring.
      function: jitted.
      args: shapes with shardings.
      alive: everything that a run holds meanwhile, including the arguments.
      part_of: the whole step that contains it; "" for whole steps.
      calls: how often that step runs it at most.
    """

    name: str
    function: Any
    args: tuple[Any, ...]
    alive: Any
    part_of: str = ""
    calls: int = 1


def names(resident: RunShapes) -> list[str]:
    """The names of a config's steps; parts follow the whole step."""
    return [name for name in MAKERS if name != "quantise" or resident.codes]


def make(name: str, resident: RunShapes) -> Step:
    """One step by its name.

    Raises:
      UserError: batch sizes that the devices do not divide; rules that train nothing.
    """
    config, layout = resident.shapes.config, resident.shapes.layout
    for key in ROWS:
        section, own = key.split(".")
        layout.check_rows(key, config[section][own])
    return MAKERS[name](resident)


def _initialise(resident: RunShapes) -> Step:
    """`assembly.initial_params` without pretrained parameters."""
    shapes = resident.shapes
    draw = partial(assemblies.draw_params, resident.model, shapes.settings.param_dtype)
    params = flatten(shapes.params(resident.model))
    key = shapes.whole((2,), jnp.uint32)

    def drawn(key: jax.Array) -> dict[str, Any]:
        return draw(jax.random.wrap_key_data(key))

    return Step("initialise", jax.jit(drawn, out_shardings=_places(params)), (key,), key)


def _quantise(resident: RunShapes) -> Step:
    """`quantise_like` at the largest kernel, with all other kernels and codes in memory."""
    shapes, stored = resident.shapes, flatten(resident.frozen)
    path = max(resident.codes, key=lambda path: resident.codes[path].size)
    prefix = path.removesuffix("codes")
    kernels = flatten(shapes.params(shapes.model(lora=True, quantisation="none")))
    kernel, scales = kernels[f"{prefix}kernel"], stored[f"{prefix}scales"]
    kind = "nf4" if stored[path].dtype == jnp.uint8 else "int8"
    quantise = partial(quantise_stack, kind=kind, block=kernel.shape[-2] // scales.shape[-2])
    done = {
        name: leaf
        for name, leaf in stored.items()
        if name.endswith(("/codes", "/scales")) and not name.startswith(prefix)
    }
    return Step("quantise", jax.jit(quantise), (kernel,), (kernels, done))


def _sft(resident: RunShapes) -> Step:
    """The step of `sft.train`, for a batch of videos with their questions."""
    shapes, settings = resident.shapes, resident.shapes.config.sft
    model = shapes.model(lora=settings.lora)
    trained, frozen = shapes.split(model, settings.trainable)
    state = shapes.state(trained, settings, reference=False)
    schedule = make_schedule(OptimizerSettings.of(settings), settings.steps)
    chunk = shapes.config.model.vocabulary_chunk
    step = sft.make_step(model, shapes.optimizer(settings), schedule, chunk, settings.micro_batch)
    places = (_places(state), shapes.layout.whole)
    args = (state, frozen, resident.banned, _lessons(shapes))
    return Step("sft", jax.jit(step, donate_argnums=0, out_shardings=places), args, args)


def _lessons(shapes: Shapes) -> sft.Lessons:
    data, settings = shapes.config.data, shapes.config.sft
    opening = len(shapes.tokens.encode_opening()[0])
    turn = data.prompt_tokens - opening + data.response_tokens
    turns = (settings.batch_size, settings.questions, turn)
    start = (settings.batch_size, opening)
    return sft.Lessons(
        shapes.video(settings.batch_size),
        Prompt(shapes.rows(start, jnp.int32), shapes.rows(start, bool)),
        Responses(shapes.rows(turns, jnp.int32), shapes.rows(turns, bool)),
        shapes.rows(turns, bool),
    )


def _encode(resident: RunShapes) -> Step:
    """`DevicePolicy.encode`."""
    encode = partial(device_policy.encode, resident.model, resident.adapter_trained)
    function = jax.jit(encode, out_shardings=resident.shapes.layout.batch)
    args = (resident.state.trained, resident.frozen, resident.frames)
    alive = (resident.always, resident.frames, resident.prompt)
    return Step("encode", function, args, alive)


def _rollout(resident: RunShapes) -> Step:
    """`DevicePolicy.rollout`."""
    shapes = resident.shapes
    sampling = device_policy.Sampling.of(shapes.config.rl, shapes.tokens)
    draw = partial(device_policy.rollout, resident.algorithm.scorer, sampling)
    function = jax.jit(draw, out_shardings=shapes.layout.batch)
    number = shapes.whole((), jnp.int32)
    args = (*resident.always, resident.media, resident.prompt, number)
    return Step("rollout", function, args, resident.while_sampling)


def _prefill(resident: RunShapes) -> Step:
    """`sampler.begin`."""
    function = jax.jit(resident.begin, out_shardings=_places(resident.begun))
    args = (resident.params, resident.media, resident.prompt)
    return Step("prefill", function, args, resident.while_sampling, part_of="rollout")


def _decode(resident: RunShapes) -> Step:
    """`sampler.decode_token` with a donated state."""
    shapes, settings = resident.shapes, resident.shapes.config.rl
    prefix, state = resident.begun
    model, params = resident.sampled

    def decode_token(state: Any, params: Any, banned: Any, key: Any, prefix: Any) -> Any:
        return sampler.decode_token(
            model, params, banned, jax.random.wrap_key_data(key), prefix, state,
            temperature=settings.temperature, end_id=shapes.tokens.end_id,
            pad_id=shapes.tokens.pad_id, truncation=resident.algorithm.scorer.truncation,
        )  # fmt: skip

    function = jax.jit(decode_token, donate_argnums=0, out_shardings=_places(state))
    args = (state, params, resident.banned, resident.state.key, prefix)
    alive, calls = (resident.while_sampling, args), settings.max_response_tokens
    return Step("decode", function, args, alive, part_of="rollout", calls=calls)


def _validate(resident: RunShapes) -> Step:
    """`Evaluator` during RL, with its two programs as one and a different video per row."""
    shapes, rows = resident.shapes, resident.shapes.config.evaluation.batch_size
    settings = decoding(EvaluationSettings.of(shapes.config), shapes.tokens)

    def answer(
        params: Any, frames: Any, row: Any, prompt: Prompt, numbers: Any, banned: Any
    ) -> Any:
        visual = see(resident.model, params, frames, row)
        return generate(resident.model, params, visual, prompt, numbers, banned, **settings)

    row, numbers = (shapes.rows((rows,), dtype) for dtype in (jnp.int32, jnp.uint32))
    prompt = shapes.prompt(rows)
    args = (resident.params, shapes.video(rows), row, prompt, numbers, resident.banned)
    function = jax.jit(answer, out_shardings=shapes.layout.batch)
    return Step("validate", function, args, (resident.always, args))


def _update(resident: RunShapes) -> Step:
    """`DevicePolicy.update`."""
    shapes, step = resident.shapes, resident.algorithm.step
    places = (_places(resident.state), shapes.layout.whole, shapes.layout.batch)
    args = (*resident.always, resident.batch)
    return Step("update", jax.jit(step, donate_argnums=0, out_shardings=places), args, args)


def _score(resident: RunShapes) -> Step:
    """Log-probabilities of one policy, without gradient, as all algorithms take them."""
    settings, score = resident.shapes.config.rl, resident.algorithm.scorer.policy_log_prob
    # The reference, and the old policy where that is not the current one.
    calls = 1 + (settings.algorithm == "ppo" or updates_per_step(settings) > 1)
    function = jax.jit(score, out_shardings=resident.shapes.layout.batch)
    args = (resident.params, resident.banned, resident.batch)
    alive = (resident.always, resident.batch)
    return Step("score", function, args, alive, part_of="update", calls=calls)


MAKERS: dict[str, Callable[[RunShapes], Step]] = {
    "initialise": _initialise,
    "quantise": _quantise,
    "sft": _sft,
    "encode": _encode,
    "rollout": _rollout,
    "prefill": _prefill,
    "decode": _decode,
    "validate": _validate,
    "update": _update,
    "score": _score,
}


def _places(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.sharding, tree)
