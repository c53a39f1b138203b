"""Your own questions, as JSON lines or CSV.

FOLDER/{items,train,validation,test}.{jsonl,csv}

    {"video": "clips/a.mp4", "question": "What moves?", "answer": "A cat.", "paraphrases": ["Cat."]}

Columns are video, question and answer, and optionally id, task_type, split, sft_answer, difficulty,
paraphrases and options. In CSV the entries of the last two are separated by |. The default split is
the file's name, and "train" for `items`. Any other column goes into "extra".
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

from orl_jax.data.benchmarks.official_files import OfficialFiles, text_of
from orl_jax.data.benchmarks.reading import Entry, Reading
from orl_jax.data.benchmarks.video_files import SUFFIXES
from orl_jax.run.errors import UserError
from orl_jax.run.files import Line, parse_json_lines

FILES = ("items", "train", "validation", "test")
SPLITS = FILES[1:]
COLUMNS = (
    "id", "video", "question", "answer", "task_type", "split", "sft_answer", "difficulty",
    "paraphrases", "options",
)  # fmt: skip


def read(files: OfficialFiles) -> Reading:
    """Reads all files that are present.

    Raises:
      UserError: none is present; a line is not JSON; a quotation mark of a CSV is not closed; a row
        lacks its video, has a list in place of a text, an unknown split, or a difficulty that is
        not 1 or 2.
    """
    reading = Reading()
    for name in files.those([f"{stem}.{kind}" for stem in FILES for kind in ("jsonl", "csv")]):
        stem, kind = name.split(".")
        rows = _json_rows(files, name) if kind == "jsonl" else _csv_rows(files, name)
        for number, row in rows:
            place = f"{files.folder / name}, line {number}"
            split = str(row.get("split") or "").strip() or ("train" if stem == "items" else stem)
            if split not in SPLITS:
                raise UserError(f'{place}: split "{split:.40}" is not one of {", ".join(SPLITS)}')
            try:
                reading.add(split, _entry(row, place, f"{stem}-{number}"))
            except TypeError as error:
                raise UserError(f"{place} has {error}; correct the line") from error
    return reading


def _entry(row: dict[str, Any], place: str, default_id: str) -> Entry:
    video, difficulty = text_of(row.get("video")), text_of(row.get("difficulty"))
    if not video:
        raise UserError(f"{place}, names no video; fill the column video in")
    if difficulty not in ("", "1", "2"):
        raise UserError(f"{place}: difficulty is {difficulty:.40}; it must be 1 or 2, or left out")
    return Entry(
        text_of(row.get("id")) or default_id, (video,), text_of(row.get("question")),
        text_of(row.get("answer")), text_of(row.get("task_type")) or "other",
        paraphrases=_texts(row.get("paraphrases")),
        sft_answer=text_of(row.get("sft_answer")),
        difficulty=int(difficulty or 0),
        options=_texts(row.get("options")),
        extra={str(key): value for key, value in row.items() if key not in COLUMNS},
    )  # fmt: skip


def _json_rows(files: OfficialFiles, name: str) -> list[Line]:
    return parse_json_lines(files.text(name), str(files.folder / name))


def _csv_rows(files: OfficialFiles, name: str) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(files.text(name), newline=""), strict=True)
    try:
        return _checked_rows(reader, f"{files.folder / name}")
    except csv.Error as error:  # also of a quotation mark that is never closed
        raise UserError(
            f"{files.folder / name}, from line {reader.line_num + 1}, is not CSV ({error}); close "
            "quotation marks, and double those within texts"
        ) from error


def _checked_rows(reader: csv.DictReader, place: str) -> list[tuple[int, dict[str, Any]]]:
    absent = {"video", "question", "answer"} - set(reader.fieldnames or ())
    if absent:
        raise UserError(
            f"{place} lacks the column {', '.join(sorted(absent))}; its first line "
            "names the columns, separated by commas"
        )
    rows = []
    for row in reader:
        if None in row:
            raise UserError(
                f"{place}, line {reader.line_num}, has more cells than columns; put "
                "texts with a comma in quotation marks"
            )
        if swallowed := _swallowed(row, reader.fieldnames):
            raise UserError(
                f"{place}, before line {reader.line_num}: a quoted text holds the row "
                f"{swallowed!r:.60}; close the quotation mark before it"
            )
        rows.append((reader.line_num, row))
    return rows


def _swallowed(row: dict[str, Any], columns: Sequence[str]) -> str:
    """A line within a text that is itself a row, or "".

    A quotation mark that is not closed takes rows in, up to the next mark in the file. A line with
    as many commas is a row if its video has a suffix, or if the text has more lines like it.
    """
    video = list(columns).index("video")
    for cell in row.values():
        lines = str(cell).splitlines()[1:]
        rows = [line for line in lines if line.count(",") >= len(columns) - 1]
        certain = [line for line in rows if line.split(",")[video].lower().endswith(SUFFIXES)]
        if certain or len(rows) > 1:
            return (certain or rows)[0]
    return ""


def _texts(value: Any) -> tuple[str, ...]:
    """The entries of a list, or of a text separated by |."""
    some = value if isinstance(value, list) else text_of(value).split("|")
    return tuple(filter(None, map(text_of, some)))
