"""Answers questions in batches.

The prompts of a batch have one length (`buckets`), each video is encoded once per batch, and
samples depend only on the question: whatever the batch size and wherever an evaluation was stopped,
the answers are the same, up to rounding.
"""

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.pipeline import batches
from orl_jax.data.source import Items, Selection, open_split, select, splits
from orl_jax.data.text.prompt import asked
from orl_jax.evaluation.answered import Answered
from orl_jax.evaluation.answering import generate, see, weigh
from orl_jax.evaluation.buckets import Bucket, buckets
from orl_jax.evaluation.prediction import WEIGHED, Prediction
from orl_jax.evaluation.questions import Questions, weighed_ids
from orl_jax.evaluation.settings import EvaluationSettings
from orl_jax.evaluation.shown import Shown
from orl_jax.evaluation.summary import summarise
from orl_jax.models.assembly import Assembly, banned_tokens
from orl_jax.models.sequences import Prompt, Responses
from orl_jax.run import processes, stop
from orl_jax.run.stop import StopRequested

_HALVINGS = 3  # sizes of a batch of videos, in addition to the full one


class Read(NamedTuple):
    """Items in memory, the questions asked about them, and the number of tokens of each prompt."""

    items: list[dict[str, Any]]
    questions: list[dict[str, Any]]
    sizes: list[int]


class Evaluator:
    """Answers questions; compiled once per length, for any parameters.

    Args:
      settings: how to ask; `EvaluationSettings.of(config)`.
      assembly: the model and its encoder.
      cache: decoded frames, shared with training; None keeps the latest `settings.cache_mb`.
    """

    def __init__(
        self, settings: EvaluationSettings, assembly: Assembly, cache: FrameCache | None = None
    ) -> None:
        self._settings = settings
        self._layout = assembly.layout
        self._choice = settings.choice
        self._cache = FrameCache(settings.cache_mb, recent=True) if cache is None else cache
        self._encoder = assembly.encoder.resized(
            settings.prompt_tokens or assembly.encoder.prompt_length,
            settings.response_tokens or assembly.encoder.response_length,
            section="evaluation",
        )
        self._subtitles = None
        if settings.subtitles:
            videos = settings.videos
            self._subtitles = Shown(videos.folder, videos.clip.frames, self._encoder)
        self._banned = banned_tokens(assembly)
        jit = partial(self._layout.jit, out_shardings=self._layout.batch)
        self._see = jit(partial(see, assembly.model))
        self._generate = jit(partial(generate, assembly.model, **decoding(settings, self._encoder)))
        chunk_size = settings.vocabulary_chunk
        self._weigh = jit(partial(weigh, assembly.model, chunk_size=chunk_size))

    def validating(
        self, params_of: Callable[[Any], dict[str, Any]]
    ) -> Callable[[Any], dict[str, float]] | None:
        """The validation of a stage's states; None, with a warning, if the data has no such split.

        Args:
          params_of: the model's parameters from a state.
        """
        folder = self._settings.videos.folder
        if "validation" in splits(folder):
            return lambda state: self.validation(params_of(state))
        logging.warning('%s has no split "validation", so nothing is validated', folder)
        return None

    def validation(self, params: dict[str, Any]) -> dict[str, float]:
        """Metrics of the first `validation_items` of the validation split."""
        result = summarise(self.predict(params, self._validation))
        numbers = {name: value for name, value in result.items() if isinstance(value, float)}
        metrics = {f"validation/{name}": value for name, value in numbers.items()}
        for name, category in result["categories"].items():
            metrics[f"validation/category/{name}"] = category["accuracy"]
        return metrics

    @cached_property
    def _validation(self) -> Read:
        items = select(
            open_split(self._settings.videos.folder, "validation"),
            max_items=self._settings.validation_items,
        )
        return self.read(items)

    def read(self, items: Items) -> Read:
        """Reads all items, so that bad ones are found before the first answer.

        Raises:
          UserError: a prompt is too long, or an item has no options to weigh.
        """
        quiet = not processes.is_writer()
        known = [items[index] for index in range(len(items))]
        questions = Questions(known, self._choice, self._subtitles)
        numbers = tqdm(range(len(known)), "reading the questions", disable=quiet, delay=3)
        read = [questions[index] for index in numbers]
        sizes = [self._encoder.prompt_size(asked(item)) for item in read]
        if max(sizes, default=0) > self._encoder.prompt_length:
            self._encoder.encode_prompt(
                asked(read[int(np.argmax(sizes))])
            )  # raises, naming the question
        return Read(known, read, sizes)

    def predict(
        self,
        params: dict[str, Any],
        read: Read,
        progress: str = "",
        *,
        answered: Answered | None = None,
        by_length: bool = False,
    ) -> list[Prediction]:
        """Answers every item whose video can be read, in the order of the items.

        Args:
          params: of the model.
          read: what `read` returns.
          progress: title of a progress bar; "" for none.
          answered: earlier answers; the new ones are added to it.
          by_length: whether to use shorter prompts for short questions; worth it for many items, as
            every length is compiled.

        Raises:
          UserError: an option is too long.
          StopRequested: a `StopSignal` has been asked to stop.
        """
        answered = Answered(None, {}) if answered is None else answered
        quiet = not progress or not processes.is_writer()
        known = _share(answered, read.items)
        with tqdm(total=len(read.items), initial=len(known), desc=progress, disable=quiet) as bar:
            for bucket in self._plan(read, by_length):
                places = [place for place in bucket.places if place not in known]
                for found in self._answer(params, read.questions, Bucket(bucket.length, places)):
                    answered.add(found)
                    _leave_if_stopped()
                    bar.update(len(found))
        found = map(answered.get, read.items)
        return [prediction for prediction in found if prediction is not None]

    def _plan(self, read: Read, by_length: bool) -> list[Bucket]:
        """The questions by length, in the order in which they are asked."""
        limit = self._encoder.prompt_length
        sizes = read.sizes if by_length else [limit] * len(read.sizes)
        return buckets(
            sizes, [item["video"] for item in read.questions], visual=self._encoder.visual_tokens,
            limit=limit, batch_size=self._settings.batch_size,
        )  # fmt: skip

    def _answer(
        self, params: dict[str, Any], questions: Sequence[dict[str, Any]], bucket: Bucket
    ) -> Iterator[list[Prediction]]:
        """The predictions of each batch, from all processes."""
        if not bucket.places:
            return
        loader = batches(
            Selection(questions, bucket.places),
            self._settings.videos,
            encoder=self._encoder.resized(bucket.length, self._encoder.response_length),
            batch_size=self._settings.batch_size,
            cache=self._cache,
            answers=None,
            **processes.share(),
        )
        with loader:
            asked = ((batch["items"], self._ask(params, batch)) for batch in loader)
            for now, _ in pairwise(chain(asked, [None])):  # the next batch has been started by then
                mine = [vars(prediction) for prediction in self._read(*now)]
                yield [Prediction(**row) for row in processes.gather_rows(mine)]

    def _ask(self, params: dict[str, Any], batch: dict[str, Any]) -> Any:
        """Starts a batch: arrays of its answers, or of the log-probabilities of its options."""
        items, layout = batch["items"], self._layout
        visual = self._see(params, *layout.rows(self._videos(items, batch["frames"])))
        numbers = np.zeros(len(batch["valid"]), np.uint32)
        numbers[: len(items)] = [zlib.crc32(item["item_id"].encode()) for item in items]
        prompt = layout.rows(Prompt(batch["prompt_ids"], batch["prompt_mask"]))
        if self._choice in WEIGHED:
            options = weighed_ids(items, len(numbers), self._encoder, self._choice)
            return self._weigh(
                params, visual, prompt, self._banned, layout.rows(Responses(*options))
            )
        return self._generate(params, visual, prompt, layout.rows(numbers), self._banned)

    def _read(self, items: Sequence[dict[str, Any]], found: Any) -> list[Prediction]:
        """Waits for what `_ask` started and drops the padding, which is last."""
        found = self._layout.local_rows(found)
        if self._choice in WEIGHED:
            return [Prediction.weighed(*pair) for pair in zip(items, found, strict=False)]
        return [
            Prediction.of(item, self._text(ids[0]), [self._text(draw) for draw in draws])
            for item, ids, draws in zip(items, *found, strict=False)
        ]

    def _videos(
        self, items: Sequence[dict[str, Any]], frames: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The frames of the batch's distinct videos, and the index of each row's video.

        Their number is rounded up to all, a half, a quarter or an eighth of the rows.
        """
        first: dict[str, int] = {}
        for row, item in enumerate(items):
            first.setdefault(item["video"], row)
        number = {video: place for place, video in enumerate(first)}
        size = self._room(len(first), len(frames))
        rows = np.zeros(len(frames), np.int32)
        rows[: len(items)] = [number[item["video"]] for item in items]
        shown = np.resize(list(first.values()) or [0], size)
        return frames[shown], rows + processes.share()["share"] * size

    def _room(self, videos: int, rows: int) -> int:
        """The number of videos in a batch; the same in all processes."""
        most = max(processes.gather(videos))
        parts = self._layout.row_devices
        size = rows
        for _ in range(_HALVINGS):
            half = size // 2
            if size % 2 or half < most or half * processes.share()["shares"] % parts:
                break
            size = half
        return size

    def _text(self, ids: np.ndarray) -> str:
        return self._encoder.decode(ids)[0]


def _leave_if_stopped() -> None:
    """Between two batches: what was answered is kept, and training is saved."""
    if signum := next(filter(None, processes.gather(stop.requested())), None):
        raise StopRequested(signum)


def _share(answered: Answered, items: Sequence[dict[str, Any]]) -> set[int]:
    """Indices of the items that the first process has answers to, which all processes get."""
    found = enumerate(map(answered.get, items))
    mine = [[index, vars(each)] for index, each in found if each is not None]
    known = processes.gather(mine)[0]
    if not processes.is_writer():
        answered.add(Prediction(**row) for _, row in known)
    return {index for index, _ in known}


def decoding(settings: EvaluationSettings, encoder: Any) -> dict[str, Any]:
    """The keywords of `generate`.

    Args:
      settings: as `Evaluator`'s.
      encoder: has `end_id` and `pad_id`.
    """
    return {
        "seed": settings.seed,
        "samples": settings.samples,
        "temperature": settings.temperature,
        "truncation": settings.truncation,
        "max_tokens": settings.max_tokens,
        "end_id": encoder.end_id,
        "pad_id": encoder.pad_id,
    }
