import pytest

from orl_jax.run.files import write_atomic


def test_it_is_written_into_a_new_folder_in_utf_8(tmp_path):
    write_atomic(tmp_path / "new" / "file", "größer\n")
    assert (tmp_path / "new" / "file").read_bytes() == "größer\n".encode()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


@pytest.mark.parametrize("broken", ["pathlib.Path.write_text", "os.replace"])
def test_what_was_there_outlives_a_failure(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_atomic(path, "before")

    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "after")
    monkeypatch.undo()
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
