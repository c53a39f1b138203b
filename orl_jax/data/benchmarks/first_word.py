"""What MSVD-QA and MSRVTT-QA share: one file per split, types by a question's first word."""

from collections.abc import Callable

from orl_jax.data.benchmarks.official_files import SPLITS, OfficialFiles, text_of
from orl_jax.data.benchmarks.reading import Entry, Reading

WORDS = ("what", "who", "how", "when", "where")


def task_type(question: str) -> str:
    """The first word of a question if it is in `WORDS`, otherwise "other".

    Example: `task_type("Who's singing?") == "who"`.
    """
    first = question.replace("'", " ").replace("\u2019", " ").lower().split()[:1]
    return first[0] if first and first[0] in WORDS else "other"


def read_splits(
    files: OfficialFiles, videos_of: Callable[[str], tuple[str, ...]], also: tuple[str, ...] = ()
) -> Reading:
    """Reads those of {train,val,test}_qa.json that are present.

    Args:
      files: lists of {"answer", "id", "question", "video_id"}.
      videos_of: the possible names of a video, from its `video_id`.
      also: keys of a row to keep in "extra".

    Raises:
      UserError: no split is present, or a row lacks a field.
    """
    reading = Reading()
    files.those([f"{split}_qa.json" for split in SPLITS])
    for official, split in SPLITS.items():
        name = f"{official}_qa.json"
        if not files.has(name):
            continue
        for number, row in enumerate(files.rows(name), 1):
            video = files.value(row, "video_id", name, number)
            item_id = files.value(row, "id", name, number)
            question = text_of(row.get("question"))
            extra = {"video_id": video, **{key: row[key] for key in also if key in row}}
            answer = text_of(row.get("answer"))
            names = videos_of(video)
            entry = Entry(item_id, names, question, answer, task_type(question), extra=extra)
            reading.add(split, entry)
    return reading
