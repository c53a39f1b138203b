"""Checkpoints written in pieces: read like others, in little memory, with nothing left over."""

import _thread
import pathlib
import shutil
import time
from collections import namedtuple

import ml_dtypes
import numpy as np
import pytest

from orl_jax.run.checkpoint import Checkpoints, Location
from orl_jax.run.errors import UserError
from orl_jax.weights.streaming import Streamed, save

RNG = np.random.default_rng(0)
WHOLE = RNG.normal(size=(5, 3)).astype(np.float32)
SLICED = RNG.normal(size=(4, 3, 2)).astype(ml_dtypes.bfloat16)


def place(tmp_path):
    return Location(str(tmp_path), "imported", 0)


def sliced(x, pieces=None):
    return Streamed(x.shape, x.dtype, pieces or (lambda: (part[None] for part in x)), sliced=True)


def test_a_streamed_checkpoint_is_read_like_any_other(tmp_path):
    params = {
        "a": {"whole": Streamed(WHOLE.shape, WHOLE.dtype, lambda: iter([WHOLE]))},
        "b": sliced(SLICED),
    }
    save(place(tmp_path), params, {"config": {"x": [1, 2]}, "base": ""})
    with Checkpoints(str(tmp_path), "imported") as checkpoints:
        assert checkpoints.latest_step() == 0
        state, extra = checkpoints.restore()
    assert extra == {"config": {"x": [1, 2]}, "base": ""}
    assert state["trained"]["b"].dtype == SLICED.dtype
    np.testing.assert_array_equal(state["trained"]["b"], SLICED)
    np.testing.assert_array_equal(state["trained"]["a"]["whole"], WHOLE)


def test_an_interrupt_stops_the_save_and_leaves_nothing(tmp_path):
    made = []

    def pieces():
        for part in SLICED:
            made.append(part)
            _thread.interrupt_main()  # Ctrl-C, in the main thread
            time.sleep(0.5)
            yield part[None]

    with pytest.raises(KeyboardInterrupt):
        save(place(tmp_path), {"a": sliced(SLICED, pieces), "b": sliced(SLICED)}, {})
    assert len(made) < len(SLICED)
    assert not list((tmp_path / "checkpoints").rglob("*"))


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10))
    with pytest.raises(UserError, match="takes up to 0.0 GB and .* has 0.0 GB free"):
        save(place(tmp_path), {"a": sliced(SLICED)}, {})
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_array(tmp_path):
    def pieces():
        rng = np.random.default_rng(0)
        for _ in range(40):  # 16 MB each, 640 MB in all
            yield rng.integers(0, 2**16, (1, 2048, 4096), dtype=np.uint16)

    before = _peak()
    array = Streamed((40, 2048, 4096), np.dtype(np.uint16), pieces, sliced=True)
    save(place(tmp_path), {"a": array}, {})
    assert _peak() - before < 300e6


def _peak():
    """Peak memory of this process in bytes."""
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)
