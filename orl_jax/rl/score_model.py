"""A score model: the SFT model with adapters and a head at the answer's last token.

VLM-RLAIF's reward model (`reward`) and a trained ranker (`ranker`) share data, forward pass, update
and validation. They differ in what they learn from, and in the loss.
"""

import logging
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader
from orl_jax.data.plan import Plan
from orl_jax.data.text.lengths import check_lengths
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.video_sample import digests
from orl_jax.data.video_settings import VideoSettings
from orl_jax.models import assembly as assemblies
from orl_jax.models.params import combine, masters, partition, policy_of
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.models.value import initial_head, response_scores
from orl_jax.models.vlm import VLM
from orl_jax.report.statistics import SMALL, wilson
from orl_jax.rl.answers import OrderReader, group_size
from orl_jax.rl.tiers import tier_ranks
from orl_jax.run import processes
from orl_jax.run.checkpoint import locate
from orl_jax.run.errors import UserError
from orl_jax.run.metrics import read_metrics
from orl_jax.training import loop
from orl_jax.training.optimizer import OptimizerSettings, make_optimizer, make_schedule
from orl_jax.training.resuming import digest, identity
from orl_jax.training.saving import Saving
from orl_jax.training.state import TrainState, apply_gradients, checked, shardings, start

VALIDATION = "validation/accuracy"
AS_RANKED, TIED, PAIRS = (f"validation/{name}" for name in ("accuracy_as_ranked", "tied", "pairs"))
HEAD = "reward"  # the head's name in a checkpoint, also of a ranker
UNUSED = {"language/lm_head": "answers are scored without it"}
# (scores [B, G], ranks [B, G]) -> loss, share of pairs in the right order, distance
Loss = Callable[[Array, Array], tuple[Array, Array, Array]]


class Answers(NamedTuple):
    """Prompts with G answers each, and the videos that they are about."""

    frames: UInt8[Array, "B F H W 3"]
    prompt: Prompt
    responses: Responses

    @classmethod
    def from_batch(cls, batch: Mapping[str, Any]) -> "Answers":
        """Of the arrays of an `AnswersReader`."""
        prompt = Prompt(batch["prompt_ids"], batch["prompt_mask"])
        responses = Responses(batch["response_ids"], batch["response_mask"])
        return cls(batch["frames"], prompt, responses)


class Kind(NamedTuple):
    """What differs between the score models.

    Attributes:
      stage: names the checkpoints and the rows of `metrics.jsonl`.
      section: of the configuration.
      items: what it learns from; see `orl_jax.rl.answers`.
      loss: see `Loss`.
      margin: scores no further apart will be tied (`config.oracle.tie_margin`); None where scores
        count as they are.
    """

    stage: str
    section: str
    items: Sequence[dict[str, Any]]
    loss: Loss
    margin: float | None = None


def scores(
    model: VLM, trained: dict[str, Any], frozen: dict[str, Any], answers: Answers
) -> Float[Array, "B G"]:
    """The score of each answer."""
    params = combine(frozen, policy_of(trained))
    visual = model.apply({"params": params}, answers.frames, method=VLM.see)
    head = trained["heads"][HEAD]
    return response_scores(model, params, head, visual, answers.prompt, answers.responses)


def make_step(
    model: VLM, optimizer: optax.GradientTransformation, schedule: optax.Schedule, loss: Loss
):
    """The update, to be jitted: (state, frozen, answers, ranks) -> (state, metrics)."""

    def objective(
        trained: dict[str, Any], frozen: dict[str, Any], answers: Answers, ranks: Array
    ) -> tuple[Array, dict]:
        found = scores(model, trained, frozen, answers)
        value, accuracy, margin = loss(found, ranks)
        return value, {
            "loss": value, "accuracy/pair": accuracy, "score/margin": margin,
            "score/mean": found.mean(),
        }  # fmt: skip

    def step(
        state: TrainState, frozen: dict[str, Any], answers: Answers, ranks: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        gradient = jax.value_and_grad(objective, has_aux=True)
        (_, metrics), grads = gradient(state.trained, frozen, answers, ranks)
        metrics |= {"grad_norm": optax.tree.norm(grads), "learning_rate": schedule(state.step)}
        after = apply_gradients(state, grads, optimizer)
        return checked(state, after._replace(step=state.step + 1), metrics)

    return step


def train(config: ConfigDict, workdir: str, kind: Kind) -> TrainState:
    """Runs a stage in `workdir`, from the checkpoint that its section's `init_from` names.

    Raises:
      UserError: missing data, tokenizer or checkpoint; too few items to hold some out; questions
        that are too long.
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    settings = config[kind.section]
    training, held_out = split_by_video(kind.items, settings.held_out, kind.section)
    assembly = assemblies.assemble(config, lora=True)
    check_lengths(kind.items, assembly.encoder, "", f"the answers of {kind.section}")
    model, layout = assembly.model, assembly.layout
    base = settings.init_from or str(pathlib.Path(workdir) / "checkpoints" / "sft")
    pretrained = assemblies.load_policy(base, assembly)
    params = assemblies.initial_params(assembly, config.seed, pretrained)
    adapters, frozen = partition(params, settings.trainable, UNUSED)
    adapters = masters(adapters)
    head = initial_head(model.language.width)
    trained = {**adapters, "heads": {HEAD: layout.replicate(head)}}
    how = OptimizerSettings.of(settings)
    schedule = make_schedule(how, settings.steps)
    optimizer = make_optimizer(how, schedule)
    state = start(trained, optimizer, config.seed, layout)
    step = layout.jit(
        make_step(model, optimizer, schedule, kind.loss),
        donate_argnums=0,
        out_shardings=(shardings(trained, optimizer, layout), layout.whole),
    )
    load = partial(
        make_loader, assembly.encoder, VideoSettings.of(config.data), config.rl.max_response_tokens,
        FrameCache(config.data.cache_mb),
    )  # fmt: skip
    rows = {"batch_size": settings.batch_size, "seed": config.seed, **processes.share()}
    judge = layout.jit(partial(scores, model), out_shardings=layout.batch)

    def on_devices(batch: dict[str, Any]) -> Answers:
        return layout.rows(Answers.from_batch(batch))

    def score_step(
        state: TrainState, batch: dict[str, Any], _: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        return step(state, frozen, on_devices(batch), layout.rows(batch["ranks"]))

    def validate(state: TrainState) -> dict[str, float]:
        scored, ranked = [], []  # of groups: scores and ranks
        with load(held_out, Plan(pad_last=True, shuffle=False, epochs=1, **rows)) as batches:
            for batch in batches:
                found = layout.local_rows(judge(state.trained, frozen, on_devices(batch)))
                scored += found[batch["valid"]].tolist()
                ranked += batch["ranks"][batch["valid"]].tolist()
        both = [np.array(processes.gather_rows(rows)) for rows in (scored, ranked)]
        return validation(*both, kind.margin)

    stage = loop.Stage(
        name=kind.stage,
        sections=(kind.section,),
        train_step=score_step,
        validate=validate,
        steps=settings.steps,
        seconds=settings.seconds,
        log_every=settings.log_every,
        validate_every=settings.validate_every,
        base=assemblies.base_reference(workdir, base),
        identity=identity(
            assembly.encoder.digest, digest(kind.items), locate(base),
            digests(kind.items, config.data.folder),
        ),
    )  # fmt: skip
    with load(training, Plan(**rows)) as batches:
        state = loop.run(stage, Saving.of(config), workdir, state, batches)
    if processes.is_writer():
        _report(workdir, kind, len(training), len(held_out))
    return state


def _report(workdir: str, kind: Kind, training: int, held_out: int) -> None:
    """Logs how good the model is, by its last validation."""
    rows = [row for row in read_metrics(workdir, kind.stage) if VALIDATION in row]
    found = verdict(rows[-1], held_out, kind.margin) if rows else "it was not validated"
    folder = pathlib.Path(workdir) / "checkpoints" / kind.stage
    logging.info("%s learnt from %d groups of answers; %s", folder, training, found)


def validation(
    scores: Float[np.ndarray, "N G"], ranks: Float[np.ndarray, "N G"], margin: float | None
) -> dict[str, float]:
    """What a validation finds: the share of pairs in the right order, and how many there are.

    With a margin also the share as the Oracle will rank them, where a pair that it ties is half
    right, and the share of pairs that it ties.

    Example: `validation(np.array([[0.2, 0.1]]), np.array([[0.0, 1.0]]), 1.0)` has the accuracy 1,
    and 0.5 as ranked.
    """
    right = pairs_right(scores, ranks)
    found = {VALIDATION: float(np.mean(right)), PAIRS: float(len(right))}
    if margin is None:
        return found
    said = pairs_right(-tier_ranks(scores, margin), ranks)
    tied = float(np.mean([value == 0.5 for value in said]))
    return found | {AS_RANKED: float(np.mean(said)), TIED: tied}


def verdict(row: Mapping[str, float], groups: int, margin: float | None) -> str:
    """A validation in words, with its interval where the pairs are few."""
    share, pairs = row[VALIDATION], round(row.get(PAIRS, 0))
    text = f"of the {pairs} pairs in {groups} held-out groups {share:.1%} are right"
    if AS_RANKED in row:
        share = row[AS_RANKED]
        text += (
            f" by their scores, {share:.1%} as the Oracle ranks them (oracle.tie_margin = "
            f"{margin:g} ties {row[TIED]:.1%}, which count half)"
        )
    if pairs < SMALL:
        low, high = wilson(share, pairs)
        text += f"; so few pairs say little: 95 % interval {low:.0%} to {high:.0%}"
    return text


def pairs_right(scores: Float[np.ndarray, "N G"], ranks: Float[np.ndarray, "N G"]) -> list[float]:
    """Of every untied pair 1 where the better answer has the higher score; 0.5 for equal scores.

    Example: the scores (1, 3) with the ranks (0, 1) are one pair, and wrong: [0.0].
    """
    better = ranks[:, :, None] < ranks[:, None, :]
    distance = scores[:, :, None] - scores[:, None, :]
    return (0.5 + 0.5 * np.sign(distance[better])).tolist()


def split_by_video(
    items: Sequence[dict[str, Any]], held_out: float, section: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(training, held-out) items; all items about one video are on the same side.

    Args:
      held_out: share of the videos, in (0, 1).
      section: of the config, for the message.

    Raises:
      UserError: a side is empty.
    """
    parts: tuple[list, list] = ([], [])
    for item in items:
        parts[zlib.crc32(item["video"].encode()) % 1000 < 1000 * held_out].append(item)
    if not all(parts):
        raise UserError(
            f"{len(items)} groups of answers are too few to hold out {held_out} of their videos; "
            f"make more (config.preferences.prompts) or change config.{section}.held_out"
        )
    return parts


def make_loader(
    encoder: PromptEncoder,
    videos: VideoSettings,
    response_length: int,
    cache: FrameCache,
    items: Sequence[dict[str, Any]],
    plan: Plan,
) -> Loader:
    """Batches of items with G answers each, in the order that `plan` says."""
    reader = OrderReader(
        videos=videos,
        group_size=group_size(items),
        response_length=response_length,
        encoder=encoder,
        cache=None if videos.workers else cache,
    )
    return Loader(items, reader, plan)
