"""The two ways through a data set: endless batches for training, one pass for evaluation."""

import dataclasses

from orl_jax.data.example import ExampleReader
from orl_jax.data.features import FeatureReader, Features
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader
from orl_jax.data.plan import Plan
from orl_jax.data.source import Items
from orl_jax.data.text.prompt_encoder import PromptEncoder
from orl_jax.data.video_settings import VideoSettings
from orl_jax.run.errors import UserError


def make_loader(
    items: Items,
    videos: VideoSettings,
    *,
    encoder: PromptEncoder,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    epochs: int | None = None,
    cache: FrameCache | None = None,
    answers: str | None = "taught",
    features: Features | None = None,
    share: int = 0,
    shares: int = 1,
) -> Loader:
    """Batches for training.

    Batches may span epochs; with finite `epochs` an incomplete last batch is dropped.

    Args:
      items: data items; see `orl_jax.data.source`.
      videos: where their videos are and how they are read.
      encoder: tokenises questions and answers.
      batch_size: B, of all shares together.
      seed: of the order, in [0, 2^32); every epoch has its own order.
      shuffle: whether to shuffle.
      epochs: how often to go through the items; None repeats them endlessly.
      cache: keeps decoded frames, also for other loaders; needs `videos.workers` of 0.
      answers: the response of an item: "taught" (what SFT learns), "clean" (the reference), or None
        for batches without responses.
      features: visual tokens; batches then have "media" [B, N, D] instead of "frames", and
        no video is decoded, so that workers and cache are not used.
      share: which rows of every batch to read, where several processes train together: the index of
        this process, in [0, shares).
      shares: the number of processes; batches then have B / shares rows. See `Loader`.

    Raises:
      UserError: an argument is out of range, or there are too few items for one batch.

    Example: `next(make_loader(train, ..., batch_size=64))["prompt_ids"].shape == (64, L)`.
    """
    if features is None:
        _check_cache(videos, cache)
        reader = ExampleReader(videos=videos, encoder=encoder, answers=answers, cache=cache)
    else:
        videos = dataclasses.replace(videos, workers=0)  # reading a row takes no time
        reader = FeatureReader(features=features, videos=videos, encoder=encoder, answers=answers)
    plan = Plan(batch_size, seed, shuffle, epochs, share=share, shares=shares)
    return Loader(items, reader, plan)


def batches(
    items: Items,
    videos: VideoSettings,
    *,
    encoder: PromptEncoder,
    batch_size: int,
    cache: FrameCache | None = None,
    answers: str | None = "clean",
    share: int = 0,
    shares: int = 1,
) -> Loader:
    """Batches for evaluation: all items once, in order, the last batch padded.

    Padding rows repeat the last item and have "valid" False. So every batch has the same shape and
    nothing recompiles. All shares yield ceil(len(items) / batch_size) batches, even if one has no
    items left for the last. Arguments are as for `make_loader`; only threads decode.

    Example: `sum(batch["valid"].sum() for batch in batches(test, ...)) == len(test)`.
    """
    reader = ExampleReader(
        videos=dataclasses.replace(videos, workers=0), encoder=encoder, answers=answers, cache=cache
    )
    plan = Plan(batch_size, shuffle=False, epochs=1, pad_last=True, share=share, shares=shares)
    return Loader(items, reader, plan)


def _check_cache(videos: VideoSettings, cache: FrameCache | None) -> None:
    if videos.workers and cache is not None:
        raise UserError(
            f"config.data.workers is {videos.workers} and frames are to be cached, but processes "
            "cannot share a cache: set config.data.workers or config.data.cache_mb to 0"
        )
