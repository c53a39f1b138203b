"""VLM-RLAIF's scalar reward model: the SFT model with adapters and a head at the last token.

Trained on preference pairs (`ops.preference_loss`). Deviations from yonseivnl/vlm-rlaif at 610cac7:
the score is read after the answer's end token rather than after an added reward prompt, whose slot
for captions that code leaves unfilled; the backbone is the policy's, not a larger one; the pairs
held out for validation are of other videos.
"""

import pathlib
import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt8
from ml_collections import ConfigDict

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader, Plan
from orl_jax.data.preferences import PairReader, read_preferences
from orl_jax.errors import UserError
from orl_jax.models.params import combine, masters, partition
from orl_jax.models.value import initial_head, response_scores
from orl_jax.models.vlm import VLM
from orl_jax.ops.preference_loss import preference_loss
from orl_jax.sharding import processes
from orl_jax.sharding.layout import Layout
from orl_jax.training import assembly as assemblies
from orl_jax.training import loop
from orl_jax.training.optimizer import learning_rate, make_optimizer
from orl_jax.training.state import TrainState, apply_gradients, policy_of, shardings, start


class Pairs(NamedTuple):
    """A batch of pairs; the first answer of each is the preferred one."""

    frames: UInt8[Array, "B F H W 3"]
    prompt_ids: Int[Array, "B L"]
    prompt_mask: Bool[Array, "B L"]
    response_ids: Int[Array, "B 2 T"]
    response_mask: Bool[Array, "B 2 T"]


def scores(
    model: VLM, trained: dict[str, Any], frozen: dict[str, Any], pairs: Pairs
) -> Float[Array, "B 2"]:
    """The score of either answer; works for any number of answers a prompt."""
    params = combine(frozen, policy_of(trained))
    visual = model.apply({"params": params}, pairs.frames, method=VLM.see)
    return response_scores(model, params, trained["heads"]["reward"], visual, *pairs[1:])


def make_step(
    model: VLM, optimizer: optax.GradientTransformation, schedule: optax.Schedule, centring: float
):
    """The update, to be jitted: (state, frozen, pairs) -> (state, metrics)."""

    def loss(trained: dict[str, Any], frozen: dict[str, Any], pairs: Pairs) -> tuple[Array, dict]:
        of_pairs = scores(model, trained, frozen, pairs)
        out = preference_loss(of_pairs[:, 0], of_pairs[:, 1], centring)
        return out.loss, {
            "loss": out.loss, "accuracy/pair": out.accuracy, "score/margin": out.margin,
            "score/mean": of_pairs.mean(),
        }  # fmt: skip

    def step(
        state: TrainState, frozen: dict[str, Any], pairs: Pairs
    ) -> tuple[TrainState, dict[str, Array]]:
        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.trained, frozen, pairs)
        metrics |= {"grad_norm": optax.tree.norm(grads), "learning_rate": schedule(state.step)}
        state = apply_gradients(state, grads, optimizer)
        return state._replace(step=state.step + 1), metrics

    return step


def train(config: ConfigDict, workdir: str) -> TrainState:
    """Runs the stage "reward" in `workdir`, from the checkpoint `config.reward.init_from`.

    Raises:
      UserError: missing data, pairs, tokenizer or checkpoint.
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    settings = config.reward
    training, held_out = split_by_video(
        read_preferences(settings.pairs or pathlib.Path(workdir) / "preferences.jsonl"),
        settings.held_out,
    )
    assembly = assemblies.assemble(config, lora=True)
    model, layout = assembly.model, assembly.layout
    base = settings.init_from or str(pathlib.Path(workdir) / "checkpoints" / "sft")
    pretrained = assemblies.load_params(base, layout)
    params = assemblies.initial_params(config, assembly, config.seed, pretrained)
    adapters, frozen = partition(params, settings.trainable)
    adapters = masters(adapters)
    head = initial_head(model.language.width)
    trained = {**adapters, "heads": {"reward": layout.replicate(head)}}
    schedule = learning_rate(settings, settings.steps)
    optimizer = make_optimizer(settings, schedule)
    state = start(trained, optimizer, config.seed, layout)
    step = layout.jit(
        make_step(model, optimizer, schedule, settings.centring),
        donate_argnums=0,
        out_shardings=(shardings(state), layout.whole),
    )
    cache = FrameCache(config.data.cache_mb)
    judge = layout.jit(partial(scores, model), out_shardings=layout.batch)

    def advance(
        state: TrainState, batch: dict[str, Any], _: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        return step(state, frozen, _on_devices(layout, batch))

    def validate(state: TrainState) -> dict[str, float]:
        right = []
        with make_loader(config, assembly, held_out, cache, epochs=1) as batches:
            for batch in batches:
                pairs = _on_devices(layout, batch)
                of_pairs = layout.local_rows(judge(state.trained, frozen, pairs))
                distance = (of_pairs[:, 0] - of_pairs[:, 1])[batch["valid"]]
                right += (0.5 + 0.5 * np.sign(distance)).tolist()  # a tie is half right
        return {"validation/accuracy": float(np.mean(processes.gather_rows(right)))}

    stage = loop.Stage(
        name="reward",
        advance=advance,
        validate=validate,
        steps=settings.steps,
        seconds=settings.seconds,
        log_every=settings.log_every,
        validate_every=settings.validate_every,
        base=assemblies.base_reference(workdir, base),
    )
    with make_loader(config, assembly, training, cache) as batches:
        return loop.run(stage, config, workdir, state, batches)


def _on_devices(layout: Layout, batch: dict[str, Any]) -> Pairs:
    return Pairs(*(layout.rows(batch[name]) for name in Pairs._fields))


def split_by_video(
    pairs: Sequence[dict[str, Any]], held_out: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(training, held-out) pairs; all pairs about one video are on the same side.

    Args:
      held_out: share of the videos, in (0, 1).

    Raises:
      UserError: a side is empty.
    """
    parts: tuple[list, list] = ([], [])
    for pair in pairs:
        parts[zlib.crc32(pair["video"].encode()) % 1000 < 1000 * held_out].append(pair)
    if not all(parts):
        raise UserError(
            f"{len(pairs)} pairs are too few to hold out {held_out} of their videos; make more "
            "(config.preferences.prompts) or change config.reward.held_out"
        )
    return parts


def make_loader(
    config: ConfigDict,
    assembly: assemblies.Assembly,
    pairs: Sequence[dict[str, Any]],
    cache: FrameCache,
    epochs: int | None = None,
) -> Loader:
    """Pairs for training, for ever; with `epochs` for validation, in order, the last batch full."""
    data = config.data
    reader = PairReader(
        response_length=config.rl.max_response_tokens,
        encoder=assembly.encoder,
        frames=data.frames,
        image_size=data.image_size,
        framing=data.get("framing", "crop"),
        video_folder=data.folder,
        cache=None if data.workers else cache,
    )
    plan = Plan(
        config.reward.batch_size, config.seed, shuffle=epochs is None, epochs=epochs,
        workers=data.workers, bad_video=data.bad_video, pad_last=epochs is not None,
        **processes.share(),
    )  # fmt: skip
    return Loader(pairs, reader, plan)
