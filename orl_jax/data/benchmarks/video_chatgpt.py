"""Video-ChatGPT's generation benchmark: three files of questions about ActivityNet's videos.

FOLDER/generic_qa.json        [{"video_name", "Q", "A"}]: correctness, detail, context
FOLDER/temporal_qa.json       [{"video_name", "Q", "A"}]
FOLDER/consistency_qa.json    [{"video_name", "Q1", "Q2", "A"}]: two questions, one answer
VIDEOS/VIDEO_NAME.{mp4,mkv,...}

The files have no ids: an item is named after its file and its position. Both questions of a pair
are items, "consistency-3-1" and "consistency-3-2", whose "extra" has the same "pair".
"""

from typing import Any

from orl_jax.data.benchmarks.official_files import OfficialFiles, text_of
from orl_jax.data.benchmarks.reading import Entry, Reading

TYPES = ("generic", "temporal", "consistency")


def read(files: OfficialFiles) -> Reading:
    """Reads those of the three files that are present, as the split "test".

    Raises:
      UserError: none is present, or a row lacks its video.
    """
    reading = Reading()
    for name in files.those([f"{kind}_qa.json" for kind in TYPES]):
        kind = name.removesuffix("_qa.json")
        for number, row in enumerate(files.rows(name), 1):
            video = files.value(row, "video_name", name, number)
            for entry in _entries(row, kind, f"{kind}-{number}", video):
                reading.add("test", entry)
    return reading


def _entries(row: dict[str, Any], kind: str, item_id: str, video: str) -> list[Entry]:
    videos = (video, f"v_{video}")
    answer = text_of(row.get("A"))
    if kind != "consistency":
        extra = {"video_name": video}
        return [Entry(item_id, videos, text_of(row.get("Q")), answer, kind, extra=extra)]
    extra = {"video_name": video, "pair": item_id}
    return [
        Entry(f"{item_id}-{which}", videos, text_of(row.get(f"Q{which}")), answer, kind,
              extra=extra)
        for which in (1, 2)
    ]  # fmt: skip
