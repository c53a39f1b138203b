r"""The preference file of the baseline, VLM-RLAIF: two answers to a question, one preferred.

FOLDER/RM_13b_v1_dataset_39k.json (or another RM_*.json)
VIDEOS/VIDEO.{mp4,mkv,...}    anywhere below

    [{"images": ["SET_50frames/VIDEO/img_01.jpg", ...], "conversations": [{"from": "human", ...},
      {"from": "gpt", ...}], "output_1": {"value"}, "output_2": {"value"}, "preference": 1 or 2}]

An item's answer is the preferred one; "extra" has both. Conversations may be one list deeper.
"""

import logging
import pathlib
from typing import Any

from orl_jax.data.benchmarks.conversation import frame_folders, said, video_of
from orl_jax.data.benchmarks.official_files import OfficialFiles, text_of
from orl_jax.data.benchmarks.reading import Entry, Reading
from orl_jax.data.preferences import preference
from orl_jax.run.errors import UserError
from orl_jax.run.files import write_json_lines

OFFICIAL = "RM_13b_v1_dataset_39k.json"
LINES = "preferences.jsonl"


def read(files: OfficialFiles) -> Reading:
    """Reads the pairs, as the split "train".

    Raises:
      UserError: the file is missing, or a row's preference is not 1 or 2.
    """
    names = sorted(path.name for path in files.folder.glob("RM_*.json"))
    if not names:
        raise files.missing(OFFICIAL)
    reading = Reading()
    for name in names:
        for number, row in enumerate(files.rows(name), 1):
            if row.get("preference") not in (1, 2):
                raise UserError(
                    f"{files.folder / name}, entry {number}: preference is "
                    f"{row.get('preference')!r}; it must be 1 or 2"
                )
            item_id = f"{pathlib.Path(name).stem}/{text_of(row.get('id')) or number}"
            _add(reading, row, item_id)
    return reading


def _add(reading: Reading, row: dict[str, Any], item_id: str) -> None:
    turns = row.get("conversations") or []
    turns = turns[0] if turns and isinstance(turns[0], list) else turns
    folders, count = frame_folders(row)
    outputs = [text_of((row.get(key) or {}).get("value")) for key in ("output_1", "output_2")]
    if len(folders) != 1:
        reading.leave_out("without frames of exactly one video", "train", item_id)
    elif len(turns) > 2:
        reading.leave_out("about a later turn of a conversation", "train", item_id)
    elif not all(outputs):
        reading.leave_out("without two answers", "train", item_id)
    else:
        frames, preferred = folders.pop(), row["preference"] - 1
        extra = {"frames": frames, "images": count, "outputs": outputs, "preferred": preferred}
        entry = Entry(
            item_id, (video_of(frames),), said(turns, 0), outputs[preferred], "instruction",
            extra=extra,
        )  # fmt: skip
        reading.add("train", entry)


def write_pairs(folder: pathlib.Path, splits: dict[str, list[dict[str, Any]]]) -> None:
    """Writes FOLDER/preferences.jsonl, for `config.reward.pairs`.

    Args:
      folder: the data folder.
      splits: items by split, "extra" as a dict. All are written, as the reward stage itself holds
        out videos (`config.reward.held_out`).
    """
    path = folder / LINES
    write_json_lines(path, (_line(item) for items in splits.values() for item in items))
    logging.info("pairs are in %s: --config.reward.pairs=%s", path, path)


def _line(item: dict[str, Any]) -> dict[str, Any]:
    outputs = [(text, False) for text in item["extra"]["outputs"]]
    return preference(item, outputs, item["extra"]["preferred"])
