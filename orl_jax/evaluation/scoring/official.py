"""Predictions in the form that a benchmark's official script reads.

video_mme            PATH.json; also for shapes_choice, the embedded world in its form
msvd_qa, msrvtt_qa   PATH.json
activitynet_qa       PATH.json for a judge, PATH_exact.json for its authors' script
video_chatgpt        PATH/{generic,temporal,consistency}.json, for the types that the items have

docs/evaluation.md says how to run each script.
"""

import json
import pathlib
from collections.abc import Sequence

from orl_jax.evaluation.scoring import records
from orl_jax.evaluation.scoring.predictions import Item, task_type
from orl_jax.evaluation.scoring.submission import write_submission
from orl_jax.run.files import write_atomic

ZERO_SHOT = ("msvd_qa", "msrvtt_qa", "activitynet_qa")
CONSISTENCY = "consistency"


def write_official(
    path_without_suffix: str | pathlib.Path,
    dataset: str,
    items: Sequence[Item],
    *,
    missing: Sequence[Item] = (),
) -> pathlib.Path | None:
    """Writes the benchmark's own form of predictions; makes the folder.

    Args:
      path_without_suffix: PATH above; a dot in its name does not start a suffix.
      dataset: `config.source.name` of the data set.
      items: as `read_predictions` gives them.
      missing: items whose video cannot be read; only Video-MME's form has a place for them, see
        `to_submission`.

    Returns:
      The file, or for Video-ChatGPT the folder; None if the data set has no form of its own, or
      there is nothing to write.

    Raises:
      UserError: an item lacks what the form needs.

    Example: `write_official("predictions/rl_test", "video_mme", items)` is
    "predictions/rl_test.json".
    """
    path = pathlib.Path(path_without_suffix)
    file = path.with_name(f"{path.name}.json")
    if dataset in ("video_mme", "shapes_choice"):
        write_submission(file, items, missing)
        return file
    if dataset == "video_chatgpt":
        return _write_by_type(path, items)
    if dataset not in ZERO_SHOT:
        return None
    _write(file, records.zero_shot(items))
    if dataset == "activitynet_qa":
        _write(path.with_name(f"{path.name}_exact.json"), records.exact(items))
    return file


def _write_by_type(folder: pathlib.Path, items: Sequence[Item]) -> pathlib.Path | None:
    written = None
    for kind in sorted({task_type(item) for item in items}):
        make = records.two_questions if kind == CONSISTENCY else records.one_question
        made = make([item for item in items if task_type(item) == kind])
        if made:
            _write(folder / f"{kind}.json", made)
            written = folder
    return written


def _write(path: pathlib.Path, rows: list[records.Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # In ASCII, as official scripts open files in whatever encoding the machine has.
    write_atomic(path, json.dumps(rows, indent=1) + "\n")
