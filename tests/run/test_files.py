import json
import os

import pytest

from orl_jax.run.errors import UserError
from orl_jax.run.files import (
    Journal,
    Line,
    read_json_lines,
    readable_json_lines,
    write_atomic,
    write_json,
    write_json_lines,
)


def test_a_file_is_written_to_a_new_folder_in_utf_8(tmp_path):
    write_atomic(tmp_path / "new" / "file", "größer\n")
    assert (tmp_path / "new" / "file").read_bytes() == "größer\n".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize("broken", ["pathlib.Path.write_text", "os.replace"])
def test_the_existing_file_survives_a_failure(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_atomic(path, "before")

    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "after")
    monkeypatch.undo()
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_json_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"n": [1]})
    text = (tmp_path / "new" / "a.json").read_text()
    assert json.loads(text) == {"n": [1]} and text.endswith("}\n")


def test_json_lines_are_read_with_their_numbers(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    rows = [{"text": "größer\u2028and\nlower"}, {}]
    write_json_lines(path, rows)
    assert path.read_bytes().count(b"\n") == 2 and "größer" in path.read_text(encoding="utf-8")
    assert read_json_lines(path) == [Line(1, rows[0]), Line(2, rows[1])]
    path.write_text('{"a": 1}\n\n  \n{"a": 2}')
    assert read_json_lines(path) == [(1, {"a": 1}), (4, {"a": 2})]
    assert read_json_lines(path, cut_off=True) == [(1, {"a": 1})]


@pytest.mark.parametrize(
    "content, words",
    [
        (b'{"a": 1}\n{"a"\n', r"a\.jsonl, line 2, is not JSON \(Expecting ':' delimiter\)"),
        (b'\n["a"]\n', r"a\.jsonl, line 2, is not a JSON object: \[\"a\"\]; fix or delete it"),
        (b"[" * 100_000, r"a\.jsonl, line 1, is not JSON \(nested too deep\)"),
        (b"\x00\xff\xfe", r"a\.jsonl is not UTF-8 text"),
        (None, r"a\.jsonl cannot be read \(No such file or directory\)"),
    ],
)
def test_a_file_that_is_not_json_lines_is_named(tmp_path, content, words):
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_json_lines(path)


def test_readable_lines_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    assert readable_json_lines(path) == ([], 0)
    path.write_bytes(b'{"a": 1}\n\n[2]\n{"b"\n{"c": "\xff"}\n{"d": 3')
    assert readable_json_lines(path) == ([{"a": 1}, {"c": "\ufffd"}], 3)


def test_a_journal_skips_a_truncated_line(tmp_path):
    path = tmp_path / "a.jsonl"
    for key in "ab":
        with Journal(path) as journal:
            journal.add({"key": key, "text": "größer"})
        path.write_bytes(path.read_bytes() + '{"key": "cut", "text": "grö'.encode()[:-1])
    with Journal(path) as journal:
        assert [entry["key"] for entry in journal] == ["a", "b"]
        assert journal.get("cut") is None
    path.write_text('{"key": "a"}\n{"no": "key"}\n[1]\n{"key": [1]}\n')
    with Journal(path) as journal:
        assert list(journal) == [{"key": "a"}]
    assert path.read_text().endswith("[1]}\n")


def test_a_line_that_was_changed_by_hand_does_not_count(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        for key in "abc":
            journal.add({"key": key, "score": 1, "text": "größer"})
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[1] = lines[1].replace('"score": 1', '"score": 5')
    lines.append('{"key": "d", "score": 2}\n')  # as earlier versions wrote them
    path.write_text("".join(lines), encoding="utf-8")
    with Journal(path) as journal:
        found = {entry["key"]: entry["score"] for entry in journal}
    assert found == {"a": 1, "c": 1, "d": 2}
    assert f"1 lines of {path} were changed since they were written" in caplog.text
    assert caplog.text.count(f"1 lines of {path} have no digest") == 1


def test_a_journal_of_this_version_warns_of_nothing(tmp_path, caplog):
    for _ in range(2):
        with Journal(tmp_path / "a.jsonl") as journal:
            journal.add({"key": "a"})
    assert not caplog.text


def test_a_journal_in_place_of_which_is_something_else(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UserError, match="is a FIFO, not a file"):
        Journal(tmp_path / "fifo")
    with pytest.raises(UserError, match="is a folder, not a file"):
        Journal(tmp_path)
    with pytest.raises(UserError, match="cannot be written to"):
        Journal(tmp_path / ("n" * 300))


def test_half_of_a_surrogate_pair_does_not_stop_a_run(tmp_path):
    with Journal(tmp_path / "a.jsonl") as journal:
        journal.add({"key": "a", "text": "\ud800"})
    write_json_lines(tmp_path / "b.jsonl", [{"text": "\ud800"}])
    write_atomic(tmp_path / "c", "\ud800")
    assert (tmp_path / "c").read_text() == r"\ud800"
    with pytest.raises(UserError, match="line 1, is not JSON .half of a surrogate"):
        read_json_lines(tmp_path / "b.jsonl")
