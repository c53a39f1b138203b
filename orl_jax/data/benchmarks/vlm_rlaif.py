r"""The training files of the baseline, VLM-RLAIF: lists of conversations about folders of frames.

FOLDER/SFT_short.json, SFT_long.json    `vlm_rlaif_sft`, easy and hard
FOLDER/PPO_init.json                    `vlm_rlaif_init`
FOLDER/RL_data.json                     `vlm_rlaif_rl`
VIDEOS/VIDEO.{mp4,mkv,...}              anywhere below

    [{"id", "conversations": [{"from": "human", "value": "<image>\n..."}, {"from": "gpt", ...}],
      "images": ["SET_50frames/VIDEO/img_01.jpg", ...]}]

Turns may have "role" instead of "from"; "image" may hold one path. The folder of the frames names
the video, from which frames are sampled again; their number goes into "extra". An item is the first
question of a conversation with its answer, as later turns depend on earlier ones.
"""

import functools
from typing import Any

from orl_jax.data.benchmarks.conversation import frame_folders, said, video_of
from orl_jax.data.benchmarks.official_files import OfficialFiles, text_of
from orl_jax.data.benchmarks.reading import Entry, Reading

FILES = {
    "sft": {"SFT_short.json": 1, "SFT_long.json": 2},  # with the difficulty; 0 for one by length
    "init": {"PPO_init.json": 0},
    "rl": {"RL_data.json": 0},
}


def read(files: OfficialFiles, stage: str) -> Reading:
    """Reads the files of a stage, as the split "train".

    Args:
      files: the folder.
      stage: "sft", "init" or "rl"; items of "rl" may lack an answer, as only the Oracle sees it.

    Raises:
      UserError: none of the files is present, or a row lacks its id.
    """
    reading = Reading()
    for name in files.those(list(FILES[stage])):
        for number, row in enumerate(files.rows(name), 1):
            item_id = f"{name.removesuffix('.json')}/{files.value(row, 'id', name, number)}"
            folders, count = frame_folders(row)
            if len(folders) != 1:
                reading.leave_out("without frames of exactly one video", "train", item_id)
                continue
            entry = _entry(row, item_id, folders.pop(), count, FILES[stage][name])
            reading.add("train", entry, needs_answer=stage != "rl")
            if entry.extra["turns"] > 2:
                reading.leave_out("later turns of a conversation", "train", item_id)
    return reading


read_sft = functools.partial(read, stage="sft")
read_init = functools.partial(read, stage="init")
read_rl = functools.partial(read, stage="rl")


def _entry(row: dict[str, Any], item_id: str, frames: str, count: int, difficulty: int) -> Entry:
    turns = row.get("conversations") or []
    extra = {
        "id": text_of(row["id"]), "frames": frames, "images": count, "turns": len(turns),
        **{key: row[key] for key in ("src_data", "uid") if key in row},
    }  # fmt: skip
    return Entry(
        item_id, (video_of(frames),), said(turns, 0), said(turns, 1), "instruction",
        difficulty=difficulty, extra=extra,
    )  # fmt: skip
