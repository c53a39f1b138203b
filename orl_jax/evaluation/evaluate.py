"""Restores a checkpoint and evaluates it on splits of a data set."""

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
from orl_jax.models.assembly import base_of, restore, stored_config, stored_extra
from orl_jax.models.beginning import SCORING
from orl_jax.run import processes
from orl_jax.run.checkpoint import Location, locate
from orl_jax.run.errors import UserError

SPLITS = ("test", "composition")  # evaluated by default, where present
INSTEAD = "validation"  # where neither is, as with most data of one's own
# What an answer depends on besides the checkpoint and the item; not the batch size or the mesh.
_DATA = ("frames", "image_size", "framing", "prompt_tokens", "response_tokens")
_EVALUATION = ("samples", "choice", "subtitles", "prompt_tokens", "response_tokens")
_RL = ("temperature", "top_k", "top_p", "min_p", "max_response_tokens")


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

    With a workdir every answer is saved at once, and a stopped evaluation resumes: no item is asked
    twice with the same checkpoint and settings. Predictions are also written in the benchmark's own
    form, if it has one.

    Args:
      config: where the data is and how to evaluate (`data.{folder,cache_mb}`, `evaluation`); the
        model and how it reads videos come from the checkpoint itself.
      checkpoint: WORKDIR/checkpoints/STAGE[/STEP].
      splits: by default those of "test" and "composition" that exist. The numbers of the first are
        also at the top level of the result.
      name: of the progress bars and the files.
      workdir: where `answered/NAME_SPLIT.jsonl` (the journal), `predictions/NAME_SPLIT.jsonl` and
        `official/NAME_SPLIT.json` go; None writes none.
      cache: decoded frames, shared by several evaluations.
      progress: whether to show progress bars.

    Returns:
      The numbers of the first split, and those of each under "splits": `summarise`, "dataset",
      "split", "folder" (of the data), "checkpoint", "choice", "skipped" (ids of items whose video
      cannot be read), "seconds", "items_per_second", and "predictions", a path relative to the
      workdir.

    Raises:
      UserError: the checkpoint or the data are missing or do not match; no video of a split can be
        read.

    Example: `evaluate(config, "runs/demo/checkpoints/rl")["accuracy"]`.
    """
    place = locate(os.fspath(checkpoint))
    if place.stage in SCORING:
        raise UserError(
            f"{checkpoint} scores answers and cannot answer; name a checkpoint of the stage sft, "
            "rl or imported"
        )
    settings = stored_config(checkpoint, dict(config.mesh)).unlock()
    settings.data.tokenizer = _tokenizer(settings, config.data.folder)
    settings.data.update(folder=config.data.folder, cache_mb=config.data.cache_mb)
    settings.evaluation = config.evaluation
    names = tuple(splits) or _usual(config.data.folder)
    asked = {split: _asked(config, split) for split in names}  # fails early if one is missing
    assembly, params = restore(settings, checkpoint)
    evaluator = Evaluator(EvaluationSettings.of(settings), assembly, cache)
    # All splits, before the first answer and before earlier answers are set aside.
    read = {split: evaluator.read(items) for split, (_, items) in asked.items()}
    predict = partial(evaluator.predict, params, by_length=True)
    made_by = _made_by(place, settings)
    found: dict[str, Any] = {}
    files: list[Callable[[], None]] = []  # written once all splits are answered
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
            "folder": config.data.folder,
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


def trained_on(config: ConfigDict, checkpoint: str | os.PathLike[str]) -> ConfigDict:
    """The config with the data folder that a checkpoint was trained on.

    Raises:
      UserError: the checkpoint cannot be read, or its folder is not there.

    Example: `trained_on(config, "runs/mine/checkpoints/rl").data.folder == "data/mine"`.
    """
    folder = stored_config(checkpoint).data.folder
    if not os.path.isdir(folder):
        raise UserError(
            f"{checkpoint} was trained on the data in {folder}, which is not there; name a folder "
            "with --config.data.folder"
        )
    config = config.copy_and_resolve_references().unlock()
    config.data.folder = folder
    return config.lock()


def _tokenizer(stored: ConfigDict, folder: str) -> str:
    """The checkpoint's tokenizer, or the data set's if it has one."""
    own = pathlib.Path(folder) / "tokenizer"
    before = pathlib.Path(stored.data.folder) / "tokenizer"
    return stored.data.tokenizer or str(own if own.is_dir() else before)


def _usual(folder: str) -> tuple[str, ...]:
    there = source.splits(folder)
    usual = tuple(split for split in SPLITS if split in there)
    if not usual and INSTEAD in there:
        logging.info("%s has neither %s; evaluating %s", folder, " nor ".join(SPLITS), INSTEAD)
        usual = (INSTEAD,)
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
    """The times at which a checkpoint and those that it builds on were written."""
    extra = stored_extra(place)
    below = _stamps(locate(base_of(place, extra))) if extra.get("base") else []
    return [place.stamp, *below]


def _file(workdir: str | os.PathLike[str] | None, file: str, folder: str) -> pathlib.Path | None:
    """The path of a file to write; None in processes that write nothing."""
    if workdir is None or not processes.is_writer():
        return None
    return pathlib.Path(workdir) / folder / file


def _timed(
    predict: Callable[..., list[Prediction]], read: Read, title: str, answered: Answered
) -> tuple[list[Prediction], dict[str, float]]:
    """The predictions, and the speed of the new ones."""
    begin, before = time.monotonic(), len(answered)
    predictions = predict(read, title, answered=answered)
    seconds = time.monotonic() - begin
    if not predictions:
        raise UserError(
            f"none of {len(read.items)} items has a readable video; see the warnings above"
        )
    rate = (len(answered) - before) / seconds
    return predictions, {"seconds": round(seconds, 3), "items_per_second": round(rate, 3)}


def _write(
    path: pathlib.Path,
    dataset: str,
    predictions: Sequence[Prediction],
    skipped: Sequence[dict[str, Any]],
) -> None:
    """Writes the predictions, also in the benchmark's own form if it has one."""
    write_predictions(path, predictions)
    path = path.parents[1] / "official" / path.stem
    missing = rows([Prediction.of(item, "", ()) for item in skipped])
    try:
        write_official(path, dataset, rows(predictions), missing=missing)
    except UserError as error:  # the results are valid without it
        logging.warning("no official form is written: %s", error)


def _skipped(
    items: Sequence[dict[str, Any]], predictions: Sequence[Prediction]
) -> list[dict[str, Any]]:
    answered = {prediction.item_id for prediction in predictions}
    skipped = [item for item in items if item["item_id"] not in answered]
    if skipped:
        logging.warning("%d items are not answered: their videos cannot be read", len(skipped))
    return skipped
