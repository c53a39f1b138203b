"""The vision warm-up: a short pretraining of the embedded world's small encoder and adapter.

In real use CLIP and the Q-Former come pretrained, and this stage is left out. It has two phases, on
the labels of `orl_jax.data.world.scene_labels`: first the encoder, from single frames (what does
each patch show, and where is it?), then the adapter on the frozen encoder, from whole clips (what
is the red object, what does it do, where is it at the start and at the end, when does it appear or
vanish?). Each of the first visual tokens answers for one colour. The heads that read the answers
are dropped afterwards.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader
from orl_jax.data.plan import Plan
from orl_jax.data.source import open_split
from orl_jax.data.video_sample import digests
from orl_jax.data.video_settings import VideoSettings
from orl_jax.data.world.scene import COLOURS
from orl_jax.data.world.scene_example import SceneReader
from orl_jax.data.world.scene_labels import OBJECT_CLASSES, PATCH_CLASSES
from orl_jax.models import assembly as assemblies
from orl_jax.models.vlm import VLM
from orl_jax.run import processes
from orl_jax.training import loop
from orl_jax.training.optimizer import OptimizerSettings, make_optimizer, make_schedule
from orl_jax.training.resuming import identity
from orl_jax.training.saving import Saving
from orl_jax.training.state import TrainState, apply_gradients, checked, shardings, start


class Clips(NamedTuple):
    """A batch of clips with the labels of `SceneReader`."""

    frames: UInt8[Array, "B F H W 3"]
    patch_colour: Int[Array, "B F P"]
    patch_shape: Int[Array, "B F P"]
    patch_centre: Float[Array, "B F P 2"]
    objects: Int[Array, "B colours labels"]


def initial_heads(key: Array, feature_width: int, language_width: int) -> dict[str, Array]:
    """Linear heads for the patch labels, the centre and the object labels."""
    sizes = {f"patch_{name}": (feature_width, size) for name, size in PATCH_CLASSES.items()}
    sizes["patch_centre"] = (feature_width, 2)
    sizes |= {f"object_{name}": (language_width, size) for name, size in OBJECT_CLASSES.items()}
    keys = jax.random.split(key, len(sizes))
    return {
        name: shape[0] ** -0.5 * jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, sizes.items(), strict=True)
    }


def encoder_loss(
    model: VLM, trained: dict[str, Any], clips: Clips, key: Array
) -> tuple[Array, dict[str, Array]]:
    """Labels of every patch, from a random quarter of each clip's frames."""
    frames = clips.frames.shape[1]
    kept = jax.random.permutation(key, frames)[: max(frames // 4, 1)]
    clips = clips._replace(**{name: getattr(clips, name)[:, kept] for name in Clips._fields[:4]})
    heads = trained["heads"]
    features = model.apply({"params": trained}, clips.frames, method=VLM.encode)
    shown = clips.patch_colour > 0
    weight = jnp.where(shown, 1.0, 0.3)  # most patches are background
    loss = sum(
        _weighted_mean(_cross_entropy(features @ heads[f"patch_{name}"], labels), weight)
        for name, labels in (("colour", clips.patch_colour), ("shape", clips.patch_shape))
    )
    error = jnp.abs(features @ heads["patch_centre"] + 0.5 - clips.patch_centre).sum(axis=-1)
    loss += 2.0 * _weighted_mean(error, shown.astype(jnp.float32))
    right = jnp.argmax(features @ heads["patch_shape"], axis=-1) == clips.patch_shape
    return loss, {"loss": loss, "accuracy/patch_shape": _weighted_mean(right, shown)}


def adapter_loss(
    model: VLM, trained: dict[str, Any], clips: Clips, key: Array
) -> tuple[Array, dict[str, Array]]:
    """Labels of the object of every colour, from the visual token of that colour."""
    features = jax.lax.stop_gradient(
        model.apply({"params": trained}, clips.frames, method=VLM.encode)
    )
    visual = model.apply({"params": trained}, features, method=VLM.adapt)[:, : len(COLOURS)]
    present = clips.objects[..., 0] > 0
    loss, metrics = 0.0, {}
    for index, name in enumerate(OBJECT_CLASSES):
        labels = clips.objects[..., index]
        logits = visual @ trained["heads"][f"object_{name}"]
        # "shape" also says whether there is such an object; the other labels only matter if so.
        weight = jnp.where(labels > 0, 1.0, 0.3 if name == "shape" else 0.2 * present)
        loss += _weighted_mean(_cross_entropy(logits, labels), weight)
        right = jnp.argmax(logits, axis=-1) == labels
        metrics[f"accuracy/object_{name}"] = _weighted_mean(right, labels > 0)
    return loss, {"loss": loss, **metrics}


def _cross_entropy(logits: Array, labels: Array) -> Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _weighted_mean(values: Array, weight: Array) -> Array:
    return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def make_step(loss: Any, optimizer: optax.GradientTransformation, schedule: optax.Schedule):
    """The update of one phase, to be jitted: (state, clips) -> (state, metrics)."""

    def step(state: TrainState, clips: Clips) -> tuple[TrainState, dict[str, Array]]:
        gradient = jax.value_and_grad(loss, has_aux=True)
        (_, metrics), grads = gradient(state.trained, clips, state.step_key())
        metrics["learning_rate"] = schedule(state.step)
        after = apply_gradients(state, grads, optimizer)
        return checked(state, after._replace(step=state.step + 1), metrics)

    return step


def train(config: ConfigDict, workdir: str) -> TrainState:
    """Runs the stage "vision" in `workdir`: `vision.encoder_steps`, then up to `vision.steps`.

    Raises:
      UserError: missing data or tokenizer, or fewer visual tokens than colours.
      StopRequested: after saving, on SIGTERM or SIGINT.
    """
    settings = config.vision
    assembly = assemblies.assemble(config, lora=False)
    params = assemblies.initial_params(assembly, config.seed)
    model, layout = assembly.model, assembly.layout
    heads = initial_heads(jax.random.key(config.seed + 1), model.vision.width, model.language.width)
    trained = {name: params[name] for name in ("vision", "adapter")}
    trained["heads"] = layout.replicate(heads)
    first = settings.encoder_steps
    how = OptimizerSettings.of(settings)
    schedules = [make_schedule(how, steps) for steps in (first, settings.steps - first)]
    schedule = optax.join_schedules(schedules, [first])
    optimizer = make_optimizer(how, schedule)
    state = start(trained, optimizer, config.seed, layout)
    encoder_step, adapter_step = (
        layout.jit(
            make_step(partial(loss, model), optimizer, schedule),
            donate_argnums=0,
            out_shardings=(shardings(trained, optimizer, layout), layout.whole),
        )
        for loss in (encoder_loss, adapter_loss)
    )

    def vision_step(
        state: TrainState, batch: dict[str, Any], _: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        clips = Clips(*(layout.rows(batch[name]) for name in Clips._fields))
        in_encoder_phase = int(jax.device_get(state.step)) < first
        return (encoder_step if in_encoder_phase else adapter_step)(state, clips)

    steps, log_every = settings.steps, settings.log_every
    items = open_split(config.data.folder, "train")
    stage = loop.Stage(
        "vision", vision_step, validate=None, steps=steps, log_every=log_every,
        identity=identity(
            assembly.encoder.digest, items.digest, videos=digests(items, config.data.folder)
        ),
    )  # fmt: skip
    with make_loader(config, assembly) as batches:
        return loop.run(stage, Saving.of(config), workdir, state, batches)


def make_loader(config: ConfigDict, assembly: assemblies.Assembly) -> Loader:
    """Clips of the training split, one of each video in an epoch."""
    videos, vision = VideoSettings.of(config.data), assembly.model.vision
    items = open_split(videos.folder, "train")
    by_video = {item["video"]: item for item in (items[i] for i in range(len(items)))}
    reader = SceneReader(
        videos=videos,
        side=vision.image_size // vision.patch_size,
        clip_frames=config.data.scenes.frames,
        encoder=assembly.encoder,
        cache=None if videos.workers else FrameCache(config.data.cache_mb),
    )
    plan = Plan(config.vision.batch_size, config.seed, **processes.share())
    return Loader(list(by_video.values()), reader, plan)
