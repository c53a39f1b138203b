"""The two ways through a data set: batches for training, for ever, and batches for evaluation."""

import os

from orl_jax.data.example import ExampleReader
from orl_jax.data.features import FeatureReader, Features
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.loader import Loader, Plan
from orl_jax.data.source import Items
from orl_jax.data.text.tokenizer import PromptEncoder
from orl_jax.run.errors import UserError


def make_loader(
    items: Items,
    *,
    encoder: PromptEncoder,
    frames: int,
    image_size: int,
    framing: str = "crop",
    video_folder: str | os.PathLike[str],
    batch_size: int,
    seed: int = 0,
    shuffle: bool = True,
    epochs: int | None = None,
    workers: int = 0,
    threads: int = 2,
    bad_video: str = "skip",
    cache_mb: float = 0,
    cache: FrameCache | None = None,
    answers: str | None = "taught",
    features: Features | None = None,
    share: int = 0,
    shares: int = 1,
) -> Loader:
    """Batches for training.

    Batches run on over the ends of epochs; with finite `epochs` what is left at the end is dropped.

    Args:
      items: data items; see `orl_jax.data.source`.
      encoder: makes ids of questions and answers.
      frames: F, frames of a video.
      image_size: side of a frame, in pixels.
      framing: of videos that are not square: "crop" them or "pad" them.
      video_folder: what the items' video paths are relative to.
      batch_size: B; with several shares that of all of them together.
      seed: of the order, in [0, 2^32); every epoch has another order.
      shuffle: whether to shuffle at all.
      epochs: how often to go through the items; None for ever.
      workers: processes that decode; 0 decodes in `threads` threads of this process, which is
        enough where decoding is most of the work, as it does not hold the interpreter's lock.
      threads: see `workers`.
      bad_video: what to do with an unreadable video: "skip" it, or "raise".
      cache_mb: decoded frames to keep in memory, in 10^6 bytes; needs workers=0.
      cache: a cache that other loaders share, in place of `cache_mb`.
      answers: the response of an item: "taught" (what SFT is taught), "clean" (the reference), or
        None for batches without responses.
      features: visual tokens; batches then have "media" [B, N, D] in place of "frames", and no
        video is decoded.
      share: which rows of every batch to read, where several processes train together: the index of
        this process, in [0, shares).
      shares: how many processes there are; batches then have B / shares rows. See `Loader`.

    Raises:
      UserError: if an argument is out of range, or there are too few items for one batch.

    Example: `next(make_loader(train, ..., batch_size=64))["prompt_ids"].shape == (64, L)`.
    """
    if cache is None and cache_mb:
        cache = FrameCache(cache_mb)
    if workers and cache is not None:
        raise UserError(
            f"config.data.workers is {workers} and frames are to be cached, but processes cannot "
            "share a cache: set config.data.workers or config.data.cache_mb to 0"
        )
    settings = {
        "encoder": encoder, "frames": frames, "image_size": image_size, "framing": framing,
        "video_folder": video_folder, "answers": answers,
    }  # fmt: skip
    if features is None:
        reader = ExampleReader(cache=cache, **settings)
    else:
        reader = FeatureReader(features=features, **settings)
    plan = Plan(
        batch_size, seed, shuffle, epochs, workers, threads, bad_video, share=share, shares=shares
    )
    return Loader(items, reader, plan)


def batches(
    items: Items,
    *,
    encoder: PromptEncoder,
    frames: int,
    image_size: int,
    framing: str = "crop",
    video_folder: str | os.PathLike[str],
    batch_size: int,
    threads: int = 2,
    bad_video: str = "skip",
    cache: FrameCache | None = None,
    answers: str | None = "clean",
    share: int = 0,
    shares: int = 1,
) -> Loader:
    """Batches for evaluation: all items once, in order, the last batch filled up.

    Rows that fill it up repeat its last item; "valid" is False there. So every batch has the same
    shape and nothing recompiles. All shares yield ceil(len(items) / batch_size) batches, also where
    one has no item left for the last. The arguments are those of `make_loader`.

    Example: `sum(batch["valid"].sum() for batch in batches(test, ...)) == len(test)`.
    """
    reader = ExampleReader(
        encoder=encoder, frames=frames, image_size=image_size, framing=framing,
        video_folder=video_folder, answers=answers, cache=cache,
    )  # fmt: skip
    plan = Plan(
        batch_size, shuffle=False, epochs=1, threads=threads, bad_video=bad_video, pad_last=True,
        share=share, shares=shares,
    )  # fmt: skip
    return Loader(items, reader, plan)
