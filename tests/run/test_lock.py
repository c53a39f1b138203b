"""A lock: one owner, who is named, and none after a death."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from orl_jax.run.errors import UserError
from orl_jax.run.lock import Lock

HOLD = """
import sys, time
from orl_jax.run.lock import Lock
with Lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_owner_is_named_and_death_releases(tmp_path, other):
    named = rf"{tmp_path} is in use by process {other.pid} on \S+ since 20\S+ \S+; go away"
    with pytest.raises(UserError, match=named):
        Lock(tmp_path, "go away")
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / ".lock").exists()  # what a killed process leaves locks nothing
    with Lock(tmp_path) as lock:
        assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()
    lock.release()
    assert not list(tmp_path.iterdir())


def test_a_file_is_locked_next_to_it_before_it_exists(tmp_path):
    with Lock(tmp_path / "a.jsonl"):
        assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl.lock"]
        with pytest.raises(UserError, match=r"a\.jsonl is in use"):
            Lock(tmp_path / "a.jsonl")
        Lock(tmp_path / "b.jsonl").release()
    Lock(tmp_path / "a.jsonl").release()


def test_one_waits_for_the_other(tmp_path):
    first, order = Lock(tmp_path), []

    def second():
        with Lock(tmp_path, wait=True):
            order.append("second")
            with pytest.raises(UserError, match="in use"):  # not the file that was deleted
                Lock(tmp_path)
            order.append("alone")

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.3)  # it has opened the file by then
    order.append("first")
    first.release()
    thread.join(10)
    assert order == ["first", "second", "alone"]


def test_a_place_that_cannot_be_written_to(tmp_path):
    with pytest.raises(UserError, match=r"cannot be locked: .* cannot be made \(No such file"):
        Lock(tmp_path / "none" / "a.jsonl")
    with pytest.raises(UserError, match="cannot be locked: .*File name too long"):
        Lock(tmp_path / ("a" * 252))


def test_a_read_only_disk_is_named(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"\.lock cannot be made \(Read-only file system\)"):
        Lock(tmp_path)
