"""Evaluates a checkpoint on the splits of a data set, restoring it on its own."""

import logging
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ml_collections import ConfigDict

from orl_jax.data import source
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.source import Items
from orl_jax.evaluation.answered import Answered
from orl_jax.evaluation.evaluator import Evaluator, Read
from orl_jax.evaluation.prediction import Prediction, rows, write_predictions
from orl_jax.evaluation.questions import chosen
from orl_jax.evaluation.scoring.official import write_official
from orl_jax.evaluation.settings import EvaluationSettings
from orl_jax.evaluation.summary import summarise
from orl_jax.models.assembly import resolve_base, restore, stored_config, stored_extra
from orl_jax.run import processes
from orl_jax.run.checkpoint import Location, locate
from orl_jax.run.errors import UserError

SCORING = ("oracle", "reward")  # stages of models that judge answers
SPLITS = ("test", "composition")  # evaluated where nothing else is asked for, as far as there
# What an answer depends on, besides the checkpoint and its item; not the batch, nor the mesh.
_DATA = ("frames", "image_size", "framing", "prompt_tokens", "response_tokens")
_EVALUATION = ("samples", "choice", "subtitles", "prompt_tokens", "response_tokens")
_RL = ("temperature", "max_response_tokens")


def evaluate(
    config: ConfigDict,
    checkpoint: str | os.PathLike[str],
    *,
    splits: Sequence[str] = (),
    name: str = "",
    workdir: str | os.PathLike[str] | None = None,
    cache: FrameCache | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Greedy and sampled accuracy of a checkpoint, overall and by task type.

    With a workdir every answer is on disk once it is given, and an evaluation that was stopped goes
    on: no item is asked again by the same checkpoint under the same settings. Predictions are also
    written in the benchmark's own form, where it has one.

    Args:
      config: where the data is and how to evaluate (`data.{folder,cache_mb}`, `evaluation`); the
        model and how it reads videos come from the checkpoint itself.
      checkpoint: WORKDIR/checkpoints/STAGE[/STEP].
      splits: by default those of "test" and "composition" that there are. The first one's numbers
        also stand at the top level of the result.
      name: of the progress bars and of the files of predictions.
      workdir: where `answered/NAME_SPLIT.jsonl` (the journal), `predictions/NAME_SPLIT.jsonl` and
        `official/NAME_SPLIT.json` go; None writes none.
      cache: decoded frames that several evaluations share.
      progress: whether to show progress bars.

    Returns:
      The numbers of the first split, and under "splits" of each: `summarise`, "dataset", "split",
      "checkpoint", "choice", "skipped" (ids of items whose video can't be read), "seconds",
      "items_per_second", and "predictions", the file, relative to the workdir.

    Raises:
      UserError: the checkpoint or the data are missing or don't fit each other; no video of a split
        can be read.

    Example: `evaluate(config, "runs/demo/checkpoints/rl")["accuracy"]`.
    """
    place = locate(os.fspath(checkpoint))
    if place.stage in SCORING:
        raise UserError(
            f"{checkpoint} scores answers and gives none; name a checkpoint of the stage sft, rl "
            "or imported"
        )
    settings = stored_config(checkpoint, dict(config.mesh)).unlock()
    settings.data.tokenizer = _tokenizer(settings, config.data.folder)
    settings.data.update(folder=config.data.folder, cache_mb=config.data.cache_mb)
    settings.evaluation = config.evaluation
    names = tuple(splits) or _usual(config.data.folder)
    asked = {split: _asked(config, split) for split in names}  # missing ones fail early
    assembly, params = restore(settings, checkpoint)
    evaluator = Evaluator(EvaluationSettings.of(settings), assembly, cache)
    # All of them before the first answer, and before earlier answers are set aside.
    read = {split: evaluator.read(items) for split, (_, items) in asked.items()}
    predict = partial(evaluator.predict, params, by_length=True)
    made_by = _made_by(place, settings)
    found: dict[str, Any] = {}
    files: list[Callable[[], None]] = []  # written once all splits are answered, as results are
    for split, (dataset, _) in asked.items():
        title = f"{name or place.stage}: {split}" if progress else ""
        file = partial(_file, workdir, f"{name or place.stage}_{split}.jsonl")
        about = {"dataset": dataset, "split": split, **made_by}
        with Answered(file("answered"), about) as answered:
            predictions, speed = _timed(predict, read[split], title, answered)
        skipped = _skipped(read[split].items, predictions)
        found[split] = {
            "dataset": dataset,
            "split": split,
            "checkpoint": os.path.relpath(place.path, place.workdir),
            "choice": made_by["evaluation.choice"],
            **summarise(predictions),
            "skipped": [item["item_id"] for item in skipped],
            **speed,
        }
        if path := file("predictions"):
            found[split]["predictions"] = str(path.relative_to(str(workdir)))
            files.append(partial(_write, path, dataset, predictions, skipped))
    for write in files:
        write()
    return {**found[names[0]], "splits": found}


def _tokenizer(stored: ConfigDict, folder: str) -> str:
    """The checkpoint's, also for a data set that brings none."""
    own = pathlib.Path(folder) / "tokenizer"
    before = pathlib.Path(stored.data.folder) / "tokenizer"
    return stored.data.tokenizer or str(own if own.is_dir() else before)


def _usual(folder: str) -> tuple[str, ...]:
    there = source.splits(folder)
    usual = tuple(split for split in SPLITS if split in there)
    if not usual:
        raise UserError(
            f"{folder} has neither {' nor '.join(SPLITS)}; name a split of it with --split: "
            f"{', '.join(there)}"
        )
    return usual


def _asked(config: ConfigDict, split: str) -> tuple[str, Items]:
    """The data set's name, and the items to ask."""
    records = source.open_split(config.data.folder, split)
    settings = config.evaluation
    items = chosen(
        records,
        max_items=settings.max_items,
        stratify=settings.stratify,
        seed=settings.seed,
    )
    return records.dataset, items


def _made_by(place: Location, settings: ConfigDict) -> dict[str, Any]:
    """What answers depend on, as JSON."""
    sections = (("data", _DATA), ("evaluation", _EVALUATION), ("rl", _RL))
    values = {
        f"{section}.{key}": settings[section][key] for section, keys in sections for key in keys
    }
    return {"checkpoints": _stamps(place), "seed": settings.seed, **values}


def _stamps(place: Location) -> list[int]:
    """When a checkpoint was written, and those that it builds on."""
    base = stored_extra(place).get("base")
    below = _stamps(locate(resolve_base(place.workdir, base))) if base else []
    return [place.stamp, *below]


def _file(workdir: str | os.PathLike[str] | None, file: str, folder: str) -> pathlib.Path | None:
    """A file that this process writes, if it is the one that does."""
    if workdir is None or not processes.is_writer():
        return None
    return pathlib.Path(workdir) / folder / file


def _timed(
    predict: Callable[..., list[Prediction]], read: Read, title: str, answered: Answered
) -> tuple[list[Prediction], dict[str, float]]:
    """The predictions, and how fast those came that were not there before."""
    begin, before = time.monotonic(), len(answered)
    predictions = predict(read, title, answered=answered)
    seconds = time.monotonic() - begin
    if not predictions:
        raise UserError(
            f"none of {len(read.items)} items has a video that can be read; look at the warnings "
            "above"
        )
    rate = (len(answered) - before) / seconds
    return predictions, {"seconds": round(seconds, 3), "items_per_second": round(rate, 3)}


def _write(
    path: pathlib.Path,
    dataset: str,
    predictions: Sequence[Prediction],
    skipped: Sequence[dict[str, Any]],
) -> None:
    """The predictions, and beside them the benchmark's own form, where it has one."""
    write_predictions(path, predictions)
    path = path.parents[1] / "official" / path.stem
    missing = rows([Prediction.of(item, "", ()) for item in skipped])
    try:
        write_official(path, dataset, rows(predictions), missing=missing)
    except UserError as error:  # the numbers stand without it
        logging.warning("no official form is written: %s", error)


def _skipped(
    items: Sequence[dict[str, Any]], predictions: Sequence[Prediction]
) -> list[dict[str, Any]]:
    answered = {prediction.item_id for prediction in predictions}
    skipped = [item for item in items if item["item_id"] not in answered]
    if skipped:
        logging.warning("%d items are not answered: their videos can't be read", len(skipped))
    return skipped
