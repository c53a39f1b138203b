"""Small folders in the official layouts, with the quirks of the real ones."""

import json
import pathlib
import runpy

from clips import write_clip
from ml_collections import ConfigDict

DEMO = pathlib.Path(__file__).parents[3] / "configs" / "demo.py"


def config_of(name: str, tmp_path: pathlib.Path, **settings) -> ConfigDict:
    """The demo's config with a source in tmp_path/official, built into tmp_path/built."""
    config = runpy.run_path(str(DEMO))["get_config"]("tiny").unlock()
    config.data.folder = str(tmp_path / "built")
    config.source.update(name=name, folder=str(tmp_path / "official"), validation_share=0.0)
    config.source.update(settings)
    return config.lock()


def write_json(path: pathlib.Path, value, *, windows: bool = False) -> None:
    """UTF-8; with `windows`, a byte-order mark and CRLF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, indent=1)
    if windows:
        text = "\ufeff" + text.replace("\n", "\r\n")
    path.write_bytes(text.encode())


def videos(folder: pathlib.Path, *names: str) -> None:
    """One clip under several names: a suffix need not match the container."""
    clip = write_clip(folder / names[0], frames=3).read_bytes()
    for name in names[1:]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip)


def activitynet(folder: pathlib.Path, split: str = "test", video: str = "a-b_c") -> None:
    """Four questions; answers in another order, and none for the last."""
    asked = [
        ("1", "is the café open"), ("2", "what colour is it"), ("3", "what is left"), ("4", "why"),
    ]  # fmt: skip
    questions = [
        {"video_name": video, "question": text, "question_id": f"v_{video}_{number}"}
        for number, text in asked
    ]
    replies = [("3", "dog", 1), ("1", "yes", 3), ("2", "red", 4)]
    answers = [
        {"answer": text, "type": kind, "question_id": f"v_{video}_{number}"}
        for number, text, kind in replies
    ]
    write_json(folder / f"{split}_q.json", questions, windows=True)
    write_json(folder / f"{split}_a.json", answers)


def video_mme_rows() -> list[dict]:
    return [
        {
            "video_id": "001", "duration": "short", "domain": "Knowledge",
            "sub_category": "Humanity & History", "url": "https://www.youtube.com/watch?v=fFjv93ACGo8",
            "videoID": "fFjv93ACGo8", "question_id": f"001-{number}",
            "task_type": "Counting Problem", "question": "How many?",
            "options": ["A. One.", "B. Two.", "C. Three.", "D. Four."], "answer": answer,
        }
        for number, answer in ((1, "C"), (2, "A"))
    ]  # fmt: skip
