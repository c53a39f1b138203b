"""Encodes the videos of a data set once, for a stage whose encoder and adapter are frozen."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from orl_jax.data.features import Features
from orl_jax.data.pipeline import batches
from orl_jax.data.source import Items
from orl_jax.data.video_settings import VideoSettings
from orl_jax.models.params import flatten
from orl_jax.rl.learner import Learner

_DATA = ("frames", "image_size", "framing")


@contextlib.contextmanager
def seen_videos(
    config: ConfigDict, learner: Learner, params: dict[str, Any], items: Items
) -> Iterator[Features | None]:
    """The visual tokens of all videos of `items` in `config.data.features`.

    Those that are not there yet are encoded now, with a progress bar; a stop loses nothing. None
    without a folder, and, with a warning, where the adapter is trained, so that tokens change, or
    several processes share the work.

    Args:
      config: reads `data` and `rl.batch_size`.
      learner: encodes, as it would at every step.
      params: the whole model's; the tokens are theirs alone.
      items: data items.
    """
    folder = config.data.get("features", "")
    if not folder or _of_no_use(learner):
        yield None
        return
    videos, place = {}, config.data.folder
    for index in range(len(items)):
        videos.setdefault(os.path.join(place, items[index]["video"]), index)
    shape = jax.eval_shape(learner.encode, learner.trained, learner.frozen, _clip(config))
    about = {
        "weights": _digest(params),
        "data": {key: config.data.get(key, "crop") for key in _DATA},
        "model": {part: config.model[part].to_dict() for part in ("vision", "adapter")},
    }
    with Features(folder, about, list(videos), shape.shape[1:], str(shape.dtype)) as features:
        if features.missing():
            with features.alone():
                missing = [items[videos[video]] for video in features.missing()]
                _fill(config, learner, features, missing)
        yield features


def _of_no_use(learner: Learner) -> bool:
    trains = any(path.startswith(("adapter/", "vision/")) for path in flatten(learner.trained))
    if trains:
        logging.warning("data.features is not used: rl.trainable changes the visual tokens")
    elif jax.process_count() > 1:
        logging.warning("data.features is not used: there are several processes")
    return trains or jax.process_count() > 1


def _digest(params: dict[str, Any]) -> str:
    """Of everything that a video passes through."""
    digest = hashlib.sha256()
    for path, leaf in sorted(flatten(params).items()):
        if path.startswith(("vision/", "adapter/")):
            digest.update(path.encode())
            digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()


def _clip(config: ConfigDict) -> jax.ShapeDtypeStruct:
    """The frames of one video."""
    size = config.data.image_size
    return jax.ShapeDtypeStruct((1, config.data.frames, size, size, 3), np.uint8)


def _fill(
    config: ConfigDict, learner: Learner, features: Features, items: Sequence[dict[str, Any]]
) -> None:
    """Encodes a video of each item; those that can't be read stay without."""
    if not items:
        return
    logging.info(
        "visual tokens take %.1f MB in %s; %d videos are to be encoded",
        features.bytes / 1e6, features.folder, len(items),
    )  # fmt: skip
    settings = VideoSettings.of(config.data)
    loader = batches(
        items, settings, encoder=learner.encoder, batch_size=config.rl.batch_size, answers=None
    )
    with loader, tqdm(total=len(items), desc="encoding videos", unit="video") as bar:
        for batch in loader:
            frames = learner.layout.rows(batch["frames"])
            media = learner.encode(learner.trained, learner.frozen, frames)
            videos = [os.path.join(settings.folder, item["video"]) for item in batch["items"]]
            features.put(videos, learner.layout.local_rows(media))
            bar.update(len(batch["items"]))
