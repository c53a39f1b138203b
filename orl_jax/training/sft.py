"""Supervised fine-tuning: easy questions first, then all; the loss covers only answer tokens.

A batch holds videos with all their questions: each video is encoded once, the opening of its prompt
is prefilled once, and the questions attend to it like the responses of a group.
"""

import itertools
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, UInt8
from ml_collections import ConfigDict

from orl_jax.data.example import ANSWERS
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader
from orl_jax.data.plan import Plan
from orl_jax.data.source import open_split, select
from orl_jax.data.text.known_words import check_words
from orl_jax.data.text.lengths import check_lengths
from orl_jax.data.video_sample import digests
from orl_jax.data.video_settings import VideoSettings
from orl_jax.data.world.lesson import LessonReader, group_by_video
from orl_jax.evaluation.evaluator import Evaluator
from orl_jax.evaluation.settings import EvaluationSettings
from orl_jax.models import assembly as assemblies
from orl_jax.models import beginning
from orl_jax.models.params import combine, masters, partition
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.vlm import VLM
from orl_jax.ops.log_probs import token_log_probs
from orl_jax.ops.losses import mask_denominator, masked_mean
from orl_jax.run import processes
from orl_jax.run.checkpoint import locate
from orl_jax.run.clock import span
from orl_jax.run.errors import UserError
from orl_jax.training import loop
from orl_jax.training.accumulation import accumulated, strided
from orl_jax.training.curriculum import Curriculum
from orl_jax.training.optimizer import OptimizerSettings, make_optimizer, make_schedule
from orl_jax.training.resuming import identity
from orl_jax.training.saving import Saving
from orl_jax.training.state import TrainState, apply_gradients, checked, shardings, start


class Lessons(NamedTuple):
    """A batch of videos, each with up to Q questions and answers as turns of U tokens.

    Attributes:
      frames: of the videos.
      opening: the part of the prompt that all questions about a video share.
      turns: a question and its answer each; they are to the opening what responses are to a prompt.
      target_mask: True on the tokens of the answers.
    """

    frames: UInt8[Array, "B F H W 3"]
    opening: Prompt
    turns: Responses
    target_mask: Bool[Array, "B Q U"]

    @classmethod
    def from_batch(cls, batch: dict[str, Any]) -> "Lessons":
        """Of the arrays of a `LessonReader`."""
        opening = Prompt(batch["prompt_ids"], batch["prompt_mask"])
        turns = Responses(batch["turn_ids"], batch["turn_mask"])
        return cls(batch["frames"], opening, turns, batch["target_mask"])


def loss(
    model: VLM,
    chunk_size: int,
    trained: dict[str, Any],
    frozen: dict[str, Any],
    banned: Bool[Array, " V"],
    lessons: Lessons,
    denominator: Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Mean negative log-probability of the answer tokens, and the share of them that it got right.

    The distribution is the sampler's: banned tokens have probability 0.

    Args:
      denominator: answer tokens of the whole batch, if these lessons are a part of it; both values
        are then this part's share.
    """
    variables = {"params": combine(frozen, trained)}
    visual = model.apply(variables, lessons.frames, method=VLM.see)
    hidden = model.apply(
        variables, visual, lessons.opening, lessons.turns, method=VLM.hidden_states
    )
    kernel = model.apply(variables, method=VLM.vocabulary_kernel)
    tokens = token_log_probs(
        hidden, kernel, lessons.turns.ids, banned=banned, chunk_size=chunk_size
    )
    mean = partial(masked_mean, mask=lessons.target_mask, denominator=denominator)
    value = -mean(tokens.log_prob)
    likely = (tokens.log_prob > jnp.log(0.5)).astype(jnp.float32)
    return value, {"loss": value, "accuracy/token": mean(likely)}


def make_step(
    model: VLM,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    chunk_size: int,
    micro_batch: int = 0,
):
    """The update, to be jitted: (state, frozen, banned, lessons) -> (state, metrics).

    Args:
      micro_batch: videos at a time, to save memory; 0 is all.
    """

    def step(
        state: TrainState, frozen: dict[str, Any], banned: Array, lessons: Lessons
    ) -> tuple[TrainState, dict[str, Array]]:
        denominator = mask_denominator(lessons.target_mask)

        def share(trained: dict[str, Any], part: Lessons) -> tuple[Array, tuple]:
            value, metrics = loss(model, chunk_size, trained, frozen, banned, part, denominator)
            return value, (metrics,)

        parts = jax.tree.map(lambda x: strided(x, micro_batch or x.shape[0]), lessons)
        grads, metrics, _ = accumulated(share, state.trained, parts)
        metrics |= {
            "grad_norm": optax.tree.norm(grads),
            "learning_rate": schedule(state.step),
        }
        after = apply_gradients(state, grads, optimizer)
        return checked(state, after._replace(step=state.step + 1), metrics)

    return step


def train(config: ConfigDict, workdir: str, cache: FrameCache | None = None) -> TrainState:
    """Runs the stage "sft" in `workdir`.

    Begins from the checkpoint `config.sft.init_from`, or from fresh parameters where that is empty.

    Args:
      cache: decoded frames that several runs share; by default a new one.

    Raises:
      UserError: missing data, tokenizer or checkpoint; a checkpoint of another tokenizer; answers
        with words that the tokenizer does not know; texts that are too long; random parameters
        that would stay frozen.
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    settings = config.sft
    assembly = assemblies.assemble(config, lora=settings.lora)
    layout = assembly.layout
    layout.check_rows("sft.micro_batch", settings.micro_batch)
    base = settings.init_from
    if not base:
        logging.warning("config.sft.init_from is empty: SFT starts from fresh parameters")
    pretrained = assemblies.load_params(base, layout) if base else {}
    if base:
        beginning.check_tokenizer(pretrained, base, assembly.encoder)
    params = assemblies.initial_params(assembly, config.seed, pretrained)
    trained, frozen = partition(params, settings.trainable)
    beginning.check_saved(pretrained, frozen, "sft")
    trained = masters(trained)
    how = OptimizerSettings.of(settings)
    schedule = make_schedule(how, settings.steps)
    optimizer = make_optimizer(how, schedule)
    state = start(trained, optimizer, config.seed, layout)
    step = layout.jit(
        make_step(
            assembly.model,
            optimizer,
            schedule,
            config.model.vocabulary_chunk,
            settings.micro_batch,
        ),
        donate_argnums=0,
        out_shardings=(shardings(trained, optimizer, layout), layout.whole),
    )
    banned = assemblies.banned_tokens(assembly)
    cache = FrameCache(config.data.cache_mb) if cache is None else cache
    evaluator = Evaluator(EvaluationSettings.of(config), assembly, cache)

    def sft_step(
        state: TrainState, batch: dict[str, Any], _: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        with span("update"):
            lessons = layout.rows(Lessons.from_batch(batch))
            return step(state, frozen, banned, lessons)

    items = open_split(config.data.folder, "train")
    stage = loop.Stage(
        name="sft",
        train_step=sft_step,
        validate=evaluator.validating(lambda state: combine(frozen, state.trained)),
        steps=settings.steps,
        seconds=settings.seconds,
        log_every=settings.log_every,
        validate_every=settings.validate_every,
        base=assemblies.base_reference(workdir, base) if base else "",
        identity=identity(
            assembly.encoder.digest, items.digest, locate(base) if base else None,
            digests(items, config.data.folder),
        ),
    )  # fmt: skip
    with make_curriculum(config, assembly, cache) as batches:
        return loop.run(stage, Saving.of(config), workdir, state, batches)


def make_curriculum(
    config: ConfigDict, assembly: assemblies.Assembly, cache: FrameCache
) -> Curriculum:
    """A loader for each phase of `config.sft.curriculum`: (share of steps, (lowest, highest)).

    Raises:
      UserError: words that the tokenizer does not know, texts that are too long, or no items.
    """
    items = open_split(config.data.folder, "train")
    everything = [items[index] for index in range(len(items))]
    for check in (check_words, check_lengths):
        check(everything, assembly.encoder, ANSWERS[config.sft.answers], config.data.folder)
    shares = list(itertools.accumulate(share for share, _ in config.sft.curriculum))
    phases = []
    for share, (_, (low, high)) in zip(shares, config.sft.curriculum, strict=True):
        if not any(low <= item["difficulty"] <= high for item in everything):
            logging.warning(
                "%s has no question of a difficulty from %d to %d, so this phase of "
                "sft.curriculum is left out", config.data.folder, low, high,
            )  # fmt: skip
            continue
        chosen = select(everything, difficulty=(low, high))
        lessons = group_by_video([chosen[i] for i in range(len(chosen))], config.sft.questions)
        loader = _loader(config, assembly, cache, lessons)
        phases.append((round(share / shares[-1] * config.sft.steps), loader))
    if not phases:
        raise UserError(
            f"{config.data.folder} has no question of a difficulty in config.sft.curriculum; for "
            "example --config.sft.curriculum='((1.0, (1, 2)),)' takes all"
        )
    return Curriculum(phases)


def _loader(
    config: ConfigDict,
    assembly: assemblies.Assembly,
    cache: FrameCache,
    lessons: Sequence[dict[str, Any]],
) -> Loader:
    videos = VideoSettings.of(config.data)
    reader = LessonReader(
        videos=videos,
        questions=config.sft.questions,
        answers=config.sft.answers,
        encoder=assembly.encoder,
        cache=None if videos.workers else cache,
    )
    plan = Plan(config.sft.batch_size, config.seed, **processes.share())
    return Loader(lessons, reader, plan)
