"""ActivityNet-QA: questions and answers in separate files, joined by `question_id`.

FOLDER/{train,val,test}_q.json    [{"video_name", "question", "question_id"}]
FOLDER/{train,val,test}_a.json    [{"answer", "type", "question_id"}], in another order
VIDEOS/v_NAME.{mp4,mkv,webm,...}
"""

from orl_jax.data.benchmarks.official_files import SPLITS, OfficialFiles, text_of
from orl_jax.data.benchmarks.reading import Entry, Reading
from orl_jax.run.errors import UserError

TYPES = (
    "motion", "spatial", "temporal", "yes/no", "colour", "object", "location", "number", "other",
)  # fmt: skip


def read(files: OfficialFiles) -> Reading:
    """Reads the splits that are present.

    Raises:
      UserError: no split is present, one has questions but no answers or the reverse, a row lacks a
        field, a type is not one of the nine, an id has two answers.
    """
    reading = Reading()
    files.those([f"{split}_q.json" for split in SPLITS])
    for official, split in SPLITS.items():
        if files.has(f"{official}_q.json") or files.has(f"{official}_a.json"):
            _read_split(files, official, split, reading)
    return reading


def _read_split(files: OfficialFiles, official: str, split: str, reading: Reading) -> None:
    name = f"{official}_q.json"
    answers = _answers(files, f"{official}_a.json")
    for number, row in enumerate(files.rows(name), 1):
        item_id = files.value(row, "question_id", name, number)
        video = files.value(row, "video_name", name, number)
        answer, task_type = answers.get(item_id, ("", ""))
        entry = Entry(
            item_id, (f"v_{video}", video), text_of(row.get("question")), answer, task_type,
            extra={"question_id": item_id, "video_name": video},
        )  # fmt: skip
        reading.add(split, entry)


def _answers(files: OfficialFiles, name: str) -> dict[str, tuple[str, str]]:
    """Answer and type by question id."""
    answers: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(files.rows(name), 1):
        item_id = files.value(row, "question_id", name, number)
        kind = files.value(row, "type", name, number)
        if kind not in map(str, range(len(TYPES))):
            raise UserError(
                f"{files.folder / name}: type {kind} of {item_id} is not one of 0 to 8; correct it"
            )
        if item_id in answers:
            raise UserError(f"{files.folder / name} answers {item_id} twice; delete one of the two")
        answers[item_id] = text_of(row.get("answer")), TYPES[int(kind)]
    return answers
