"""Files and JSON from outside: bounded in size, depth and type, and named in one line."""

import json
import os

import pytest

from orl_jax.run.errors import UserError
from orl_jax.run.reading import DEEPEST, parse_json, read_bytes, read_json, read_text, text, texts


def test_only_regular_files_are_read_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    cases = {
        tmp_path: "is a folder, not a file; look",
        tmp_path / "fifo": "is a FIFO, not a file; look",
        "/dev/zero": "is a device, not a file; look",
        tmp_path / "none": r"cannot be read \(No such file or directory\); look",
        tmp_path / ("n" * 300): r"cannot be read \(File name too long\)",
        "a\0b": r"'a\\x00b' cannot be read \(embedded null byte\); look",
    }
    for path, words in cases.items():
        with pytest.raises(UserError, match=words):
            read_bytes(path, "look")


def test_size_and_encoding_are_bounded(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "größer".encode())
    assert read_text(path) == "größer"
    with pytest.raises(UserError, match="more than the 5 bytes that are read; cut it"):
        read_text(path, "cut it", 5)
    path.write_bytes(b"ab\xff")
    with pytest.raises(UserError, match=r"a.txt is not UTF-8 text \(.* at byte 2\)"):
        read_text(path)


@pytest.mark.parametrize(
    "content, words",
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' * 900 + "1" + "}" * 900, f"nested more than {DEEPEST} deep"),
        ('{"a": ' + "9" * 5000 + "}", "an integer of 5000 digits, at most 20"),
        ('{"a": -' + "9" * 21 + "}", "an integer of 22 digits"),
        (r'{"a": ["\ud800"]}', r"half of a surrogate pair, \\ud800, is not text"),
        (r'{"\udfff": 1}', "half of a surrogate pair"),
        ('{"a": 1\n"b"}', r"Expecting ',' delimiter in line 2"),
        ("[1]", "not a JSON object"),
    ],
)
def test_json_is_bounded(content, words):
    with pytest.raises(UserError, match=f"a.json .*{words}.*; fix it") as raised:
        parse_json(content, "a.json")
    assert len(str(raised.value)) < 200


def test_json_within_the_bounds_is_read(tmp_path):
    value = {"n": 2**64 - 1, "face": "\U0001f600", "nan": [[[1e300]]], "many": [[]] * 100}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == value
    assert parse_json("[1]", "", kind=list) == [1] and parse_json("7", "", kind=object) == 7


def test_a_field_has_its_type():
    row = {"one": "Yes", "many": ["Yes", "No"], "null": None, "mixed": ["a", 1]}
    assert texts(row, "many") == ("Yes", "No") and texts(row, "null") == texts(row, "x") == ()
    assert text(row, "one") == "Yes" and text(row, "null") is None and text(row, "x", "") == ""
    for name in ("one", "mixed"):
        with pytest.raises(ValueError, match=f"{name} must be a list of strings such as"):
            texts(row, name)
    with pytest.raises(ValueError, match="many must be a string, not"):
        text(row, "many")
