import json

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
