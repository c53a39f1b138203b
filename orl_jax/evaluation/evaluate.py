"""Evaluates a checkpoint on held-out splits, restoring it on its own."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from orl_jax.checkpoint import Checkpoints, locate
from orl_jax.config import from_json
from orl_jax.data.frame_cache import FrameCache
from orl_jax.data.source import open_split, select
from orl_jax.evaluation.accuracy import Evaluator, summarise, write_predictions
from orl_jax.sharding import processes
from orl_jax.training.assembly import restore

DATASET = "shapes_video_qa"
SPLITS = ("test", "composition")


def stored_config(
    path: str | os.PathLike[str], mesh: Mapping[str, int] | None = None
) -> ConfigDict:
    """The configuration that a checkpoint was trained with.

    Args:
      path: WORKDIR/checkpoints/STAGE[/STEP].
      mesh: the section `mesh` of now, for the checkpoint's is of the machine that it was trained
        on; by default all devices are along `data`.

    Raises:
      UserError: the checkpoint is missing or unreadable.
    """
    place = locate(os.fspath(path))
    with Checkpoints(place.workdir, place.stage) as checkpoints:
        extra = checkpoints.restore_extra(place.step)
    here = dict(mesh) if mesh else {"data": -1, "fsdp": 1, "tensor": 1}
    return from_json(json.dumps({**extra["config"], "mesh": here}))


def evaluate(
    config: ConfigDict,
    checkpoint: str | os.PathLike[str],
    *,
    splits: Sequence[str] = SPLITS,
    name: str = "",
    workdir: str | os.PathLike[str] | None = None,
    cache: FrameCache | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Greedy and sampled accuracy of a checkpoint, overall and by task type.

    Args:
      config: where the data is and how to evaluate (`data.{folder,cache_mb}`, `evaluation`); the
        model and how it reads videos come from the checkpoint itself.
      checkpoint: WORKDIR/checkpoints/STAGE[/STEP].
      splits: the first one's numbers also stand at the top level of the result.
      name: of the progress bars and of the files of predictions.
      workdir: where `predictions/NAME_SPLIT.jsonl` go; None writes none.
      cache: decoded frames that several evaluations share.
      progress: whether to show progress bars.

    Raises:
      UserError: the checkpoint or the data are missing or don't fit each other.

    Example: `evaluate(config, "runs/demo/checkpoints/rl")["accuracy"]`.
    """
    place = locate(os.fspath(checkpoint))
    settings = stored_config(checkpoint, config.get("mesh")).unlock()
    settings.data.update(folder=config.data.folder, cache_mb=config.data.cache_mb)
    settings.evaluation = config.evaluation
    assembly, params = restore(settings, checkpoint)
    evaluator = Evaluator(settings, assembly, cache)
    results = {}
    for split in splits:
        items = select(
            open_split(config.data.folder, split), max_items=config.evaluation.max_items or None
        )
        title = f"{name or place.stage}: {split}" if progress else ""
        predictions = evaluator.predict(params, items, progress=title)
        if workdir is not None and processes.is_writer():
            path = pathlib.Path(workdir) / "predictions" / f"{name or place.stage}_{split}.jsonl"
            write_predictions(path, predictions)
        results[split] = {
            "dataset": DATASET,
            "split": split,
            "checkpoint": os.path.relpath(place.path, place.workdir),
            **summarise(predictions),
        }
    return {**results[splits[0]], "splits": results}
