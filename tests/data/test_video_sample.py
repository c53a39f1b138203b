"""Whether a data set's videos have changed, as far as a sample tells."""

import os

import pytest

from orl_jax.data.video_sample import VIDEOS, digests


@pytest.fixture
def folder(tmp_path):
    """Three videos, and items that name them, one that is missing, and a FIFO."""
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(bytes([number]) * 300_000)
    os.mkfifo(tmp_path / "fifo.mp4")
    return tmp_path


NAMES = ("0.mp4", "1.mp4", "2.mp4")
ITEMS = [{"video": name} for name in (*NAMES, "missing.mp4", "fifo.mp4", "a\0.mp4", "0.mp4")]


def test_copies_have_equal_digests(folder, tmp_path):
    found = digests(ITEMS, folder)
    assert set(found) == set(NAMES) and len(set(found.values())) == 3
    for name in NAMES:
        os.utime(folder / name, (1, 1))
    assert digests(ITEMS, str(folder)) == found


@pytest.mark.parametrize("place", [0, 299_999])
def test_a_changed_beginning_end_or_size_shows(folder, place):
    before = digests(ITEMS, folder)
    content = bytearray((folder / "1.mp4").read_bytes())
    content[place] ^= 1
    (folder / "1.mp4").write_bytes(content)
    (folder / "2.mp4").write_bytes(bytes([2]) * 300_001)
    after = digests(ITEMS, folder)
    assert [name for name in NAMES if before[name] != after[name]] == ["1.mp4", "2.mp4"]


def test_of_many_videos_some_are_read(folder):
    names = [f"v{number}.mp4" for number in range(1000)]
    for name in names:
        os.link(folder / "0.mp4", folder / name)
    found = list(digests([{"video": name} for name in names], folder))
    assert len(found) == VIDEOS and found[0] == "v0.mp4" and found[-1] > "v9"
