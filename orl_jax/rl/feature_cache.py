"""Encodes the videos of a data set once, for a stage whose encoder and adapter are frozen."""

import contextlib
import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from orl_jax.data.features import Features
from orl_jax.data.pipeline import batches
from orl_jax.data.source import Items
from orl_jax.data.video_settings import VideoSettings
from orl_jax.models.params import flatten
from orl_jax.rl.device_policy import DevicePolicy


@contextlib.contextmanager
def precompute_features(
    folder: str,
    policy: DevicePolicy,
    params: dict[str, Any],
    items: Items,
    videos: VideoSettings,
    *,
    batch_size: int,
    model: Mapping[str, Any],
) -> Iterator[Features | None]:
    """The visual tokens of all videos of `items` in `folder`.

    Missing ones are encoded first, with a progress bar; a stop loses nothing. None, with a warning,
    where the adapter is trained, so that tokens change, or several processes share the work.

    Args:
      folder: `config.data.features`.
      policy: encodes, as it would at every step.
      params: the whole model's; other weights have other tokens.
      items: data items.
      videos: where the videos are and how they are read.
      batch_size: videos encoded at a time.
      model: settings of the encoder and adapter as JSON; other settings have other tokens.
    """
    if _of_no_use(policy):
        yield None
        return
    first: dict[str, int] = {}
    for index in range(len(items)):
        first.setdefault(os.path.join(videos.folder, items[index]["video"]), index)
    clip = jax.ShapeDtypeStruct((1, *videos.clip.shape), np.uint8)
    shape = jax.eval_shape(policy.encode, policy.trained, policy.frozen, clip)
    about = {
        "weights": _digest(params),
        "data": dataclasses.asdict(videos.clip),
        "model": dict(model),
    }
    with Features(folder, about, list(first), shape.shape[1:], str(shape.dtype)) as features:
        if features.missing():
            with features.exclusive():
                missing = [items[first[video]] for video in features.missing()]
                _fill(policy, features, missing, videos, batch_size)
        yield features


def _of_no_use(policy: DevicePolicy) -> bool:
    trains = any(path.startswith(("adapter/", "vision/")) for path in flatten(policy.trained))
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


def _fill(
    policy: DevicePolicy,
    features: Features,
    items: Sequence[dict[str, Any]],
    videos: VideoSettings,
    batch_size: int,
) -> None:
    """Encodes the video of each item; unreadable ones get no row."""
    if not items:
        return
    logging.info(
        "visual tokens take %.1f MB in %s; %d videos are to be encoded",
        features.bytes / 1e6, features.folder, len(items),
    )  # fmt: skip
    loader = batches(items, videos, encoder=policy.encoder, batch_size=batch_size, answers=None)
    with loader, tqdm(total=len(items), desc="encoding videos", unit="video") as bar:
        for batch in loader:
            frames = policy.layout.rows(batch["frames"])
            media = policy.encode(policy.trained, policy.frozen, frames)
            paths = [os.path.join(videos.folder, item["video"]) for item in batch["items"]]
            features.put(paths, policy.layout.local_rows(media))
            bar.update(len(batch["items"]))
