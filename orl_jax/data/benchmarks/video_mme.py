"""Video-MME: multiple choice on 900 videos, one table of rows or one list of videos.

FOLDER/*.parquet or FOLDER/videomme/*.parquet    a row per question (needs pyarrow), or
FOLDER/*.json                                    a list of videos, each with its "questions"
VIDEOS/VIDEOID.mp4                               anywhere below
FOLDER/subtitle/VIDEOID.srt                      anywhere below, or next to the videos

The JSON of June 2024 has other names for some keys; both are read. The answer is a letter; the
full option and its text are paraphrases of it.
"""

import re
from collections.abc import Iterable
from typing import Any

from orl_jax.data.benchmarks.official_files import OfficialFiles, text_of
from orl_jax.data.benchmarks.reading import Entry, Reading
from orl_jax.data.benchmarks.video_files import VideoFiles
from orl_jax.run.errors import UserError

OLDER = {
    "duration_category": "duration", "video_category": "domain",
    "video_subcategory": "sub_category", "choices": "options",
}  # fmt: skip
EXTRA = ("video_id", "videoID", "question_id", "duration", "domain", "sub_category", "url")
_YOUTUBE = re.compile(r"(?:[?&]v=|youtu\.be/|shorts/)([\w-]{6,})")
_LETTER = re.compile(r"^\s*\(?([A-Z])[.):]\s*")


def read(files: OfficialFiles) -> Reading:
    """Reads the split "test".

    Raises:
      UserError: there is no such file, or several lists of videos; pyarrow is not installed; a row
        lacks a field, or its answer is not the letter of an option.
    """
    reading = Reading()
    name, rows = _rows(files)
    subtitles = [VideoFiles(folder, (".srt",)) for folder in {files.folder, files.videos}]
    for number, row in enumerate(rows, 1):
        row = {OLDER.get(key, key): value for key, value in row.items()}
        row["videoID"] = _video_id(row)
        reading.add("test", _entry(files, row, name, number, subtitles))
    return reading


def _entry(
    files: OfficialFiles, row: dict[str, Any], name: str, number: int, subtitles: list[VideoFiles]
) -> Entry:
    item_id = files.value(row, "question_id", name, number)
    task_type = files.value(row, "task_type", name, number)
    videos = tuple(filter(None, (text_of(row["videoID"]), text_of(row.get("video_id")))))
    options = tuple(text_of(option) for option in row.get("options") or ())
    answer = text_of(row.get("answer")).strip(".()")
    by_letter = {m[1]: o for o in options if (m := _LETTER.match(o))}
    if not by_letter or (answer and answer not in by_letter):
        raise UserError(
            f'{files.folder / name}: the answer "{answer}" of {item_id} is not the letter of one '
            f"of its {len(options)} options; download the file again"
        )
    chosen = by_letter.get(answer, "")
    found = [path for folder in subtitles if (path := folder.find(videos))]
    extra = {key: text_of(row.get(key)) for key in EXTRA} | {"subtitles": (found or [""])[0]}
    return Entry(
        item_id, videos or (item_id,), text_of(row.get("question")), answer, task_type,
        paraphrases=(chosen, _LETTER.sub("", chosen)) if chosen else (),
        options=options, extra=extra,
    )  # fmt: skip


def _rows(files: OfficialFiles) -> tuple[str, Iterable[dict[str, Any]]]:
    """The name of the (first) file, and one row per question."""
    tables = sorted([*files.folder.glob("*.parquet"), *files.folder.glob("videomme/*.parquet")])
    if tables:
        return str(tables[0].relative_to(files.folder)), _table_rows(tables)
    lists = sorted(path.name for path in files.folder.glob("*.json"))
    if not lists:
        raise files.missing("videomme/test-00000-of-00001.parquet")
    if len(lists) > 1:
        raise UserError(
            f"{files.folder} holds {', '.join(lists)}: leave only one list of videos there"
        )
    return lists[0], _list_rows(files.rows(lists[0]))


def _table_rows(tables: list[Any]) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise UserError(
            f"{tables[0]} needs pyarrow: pip install 'orl_jax[parquet]', or put the JSON list of "
            "videos there instead"
        ) from error
    try:
        return [row for table in tables for row in parquet.ParquetFile(table).read().to_pylist()]
    except (ArrowInvalid, OSError) as error:
        raise UserError(
            f"{tables[0]} is not a parquet file ({error}); download it again"
        ) from error


def _list_rows(videos: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for video in videos:
        shared = {key: value for key, value in video.items() if key != "questions"}
        for question in video.get("questions") or ():
            yield shared | question


def _video_id(row: dict[str, Any]) -> str:
    """YouTube's name of the video, which older files have only in the address."""
    found = _YOUTUBE.search(text_of(row.get("url")))
    return text_of(row.get("videoID")) or (found[1] if found else "")
